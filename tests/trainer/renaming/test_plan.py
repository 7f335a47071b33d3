import os
from pathlib import Path

import pytest
from PIL import Image

from pack.trainer.dataset.scan import scan_folder
from pack.trainer.renaming.plan import Naming, plan


def make(root, *names):
    """Images, and other files that hold their own names."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in (".png", ".jpg", ".webp"):
            Image.new("RGB", (16, 16)).save(path)
        else:
            path.write_text(name, "utf-8")
    return root


def planned(root, naming=None, dataset=None, **options):
    """Old name to new one, with the folder below the root."""
    moves, kept = plan(dataset or scan_folder(root, **options), naming or Naming())
    assert all(m.size == (m.folder / m.old).stat().st_size for m in moves)
    names = {(m.folder / m.old).relative_to(root).as_posix(): m.new for m in moves}
    return names if not kept else (names, kept)


def test_images_captions_and_masks_of_a_stem_go_together_in_natural_order(tmp_path):
    make(tmp_path, "img10.PNG", "img2.jpg", "img2.txt", "img2.caption", "img10.npz", "img10.json")
    make(tmp_path, "masks/img2.png", "masks/img10.npz", "notes.txt", "img.txt", "img10.tif")
    names, kept = planned(tmp_path, Naming("cat ", 9, 2))
    assert names == {
        "img2.jpg": "cat 09.jpg",
        "img2.txt": "cat 09.txt",
        "img2.caption": "cat 09.caption",
        "masks/img2.png": "cat 09.png",
        "img10.PNG": "cat 10.PNG",
        "img10.tif": "cat 10.tif",
    }
    assert kept == ["3 file(s) of other kinds keep their names: img10.json; img10.npz; img10.npz"]


OF_A_PROGRAM = [
    *("logo.py", "logo.json", "logo.exe", "logo.dll", "logo.js", "logo.sh", "logo.bat", "logo.toml"),
    *("logo.yaml", "logo.html", "logo.md", "logo.ini", "logo.csv", "logo.c", "logo.safetensors"),
    *("logo.png.json", "logo.txt.py", "logo.npz", "logo", "readme.txt", "masks/logo.txt", "masks/logo.py"),
]  # fmt: skip


@pytest.mark.parametrize("other", OF_A_PROGRAM)
def test_a_program_beside_an_image_keeps_its_names(tmp_path, other):
    make(tmp_path, "logo.png", "logo.txt", other)
    names = planned(tmp_path)
    moved = names[0] if isinstance(names, tuple) else names
    assert moved == {"logo.png": "0001.png", "logo.txt": "0001.txt"}


@pytest.mark.parametrize("extension", [".json", ".tags.json", ".wd14"])
def test_what_is_read_as_a_caption_but_ends_otherwise_keeps_its_name_and_its_image(
    tmp_path, extension
):
    make(tmp_path, "a.png", "b.png")
    (tmp_path / f"a{extension}").write_text("a")
    names, kept = planned(tmp_path, caption_extension=extension)
    assert names == {"b.png": "0001.png"} and "does not end like a caption file" in kept[0]


@pytest.mark.parametrize(
    "other",
    ["0001.npz", "0001.json", "0001.txt", "0001.tags.txt", "masks/0001.png", "masks/0001.npz", "0001"],
)  # fmt: skip
def test_what_stays_never_comes_to_stand_beside_another_image(tmp_path, other):
    """An image of the same name would take it for its caption, its mask or its cached latents."""
    make(tmp_path, "a.png", other)
    with pytest.raises(ValueError, match=rf"stand beside another image.*\n.*{other}$"):
        planned(tmp_path)


def test_an_image_that_keeps_its_name_keeps_what_stands_beside_it(tmp_path):
    make(tmp_path, "0001.png", "0001.npz", "0002.json", "x.png", "0002.png")
    names, kept = planned(tmp_path)
    assert names == {"x.png": "0003.png"} and len(kept) == 1


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("a.txt", "b.txt"),
        ("a.txt", "../set/b.txt"),
        ("a.txt", "masks/../b.txt"),
        ("c.png", "b.png"),
        ("masks/a.png", "x.png"),
        ("masks/a.png", "../b.png"),
        ("a.txt", "../away.txt"),
    ],
)
def test_a_link_to_a_file_that_is_renamed_is_named(tmp_path, link, target):
    root = make(tmp_path / "set", "b.png", "b.txt", "a.png", "x.png", "masks/x.png")
    (tmp_path / "away.txt").symlink_to(root / "b.txt")
    (root / link).symlink_to(target)
    with pytest.raises(ValueError, match=rf"links to files that would get other.*\n.*{link}$"):
        planned(root)


def test_a_link_to_a_file_elsewhere_is_renamed_as_a_link(tmp_path):
    make(tmp_path, "elsewhere/a.png", "elsewhere/b.txt")
    root = make(tmp_path / "set", "x.png")
    (root / "a.png").symlink_to("../elsewhere/a.png")
    (root / "a.txt").symlink_to(tmp_path / "elsewhere" / "b.txt")
    assert planned(root) == {"a.png": "0001.png", "a.txt": "0001.txt", "x.png": "0002.png"}


def test_every_folder_counts_for_itself_and_repeats_stay(tmp_path):
    make(tmp_path, "3_cat/x.png", "3_cat/y.png", "1_dog/x.png", "z.png")
    assert planned(tmp_path) == {
        "z.png": "0001.png",
        "1_dog/x.png": "0001.png",
        "3_cat/x.png": "0001.png",
        "3_cat/y.png": "0002.png",
    }


def test_pictures_of_one_stem_keep_sharing_it(tmp_path):
    make(tmp_path, "a.png", "a.jpg", "a.txt", "b.png")
    assert planned(tmp_path) == {
        "a.jpg": "0001.jpg",
        "a.png": "0001.png",
        "a.txt": "0001.txt",
        "b.png": "0002.png",
    }


def test_the_longest_stem_owns_a_file(tmp_path):
    make(tmp_path, "a.png", "a.b.png", "a.b.txt", "a.tags.cap", "a.png.txt", "a.c.txt", "a.b.c.tag")
    assert planned(tmp_path, caption_extension=".tags.cap") == {
        "a.b.png": "0001.png",
        "a.b.txt": "0001.txt",
        "a.b.c.tag": "0001.c.tag",
        "a.png": "0002.png",
        "a.tags.cap": "0002.tags.cap",
        "a.png.txt": "0002.png.txt",
        "a.c.txt": "0002.c.txt",
    }


def test_what_belongs_to_pictures_that_are_left_out_stays(tmp_path):
    make(tmp_path, "a.png", "b.png", "b.txt", "a.b.png", "a.b.txt")
    dataset = scan_folder(tmp_path).without([tmp_path / "b.png", tmp_path / "a.b.png"])
    assert planned(tmp_path, dataset=dataset) == {"a.png": "0001.png"}


def test_a_face_box_name_takes_its_short_caption_along_unless_others_use_it(tmp_path):
    make(tmp_path, "girl_1_2_3_4.png", "girl.txt", "x.png")
    assert planned(tmp_path) == {
        "girl_1_2_3_4.png": "0001.png",
        "girl.txt": "0001.txt",
        "x.png": "0002.png",
    }
    make(tmp_path, "girl_5_6_7_8.png")
    names, kept = planned(tmp_path)
    assert names == {"x.png": "0001.png"} and len(kept) == 2
    assert "girl_1_2_3_4 keeps its name: others use girl.txt, too" in kept[0]


def test_a_caption_of_another_case_goes_along(tmp_path):
    make(tmp_path, "IMG_1.JPG", "img_1.txt", "b.png", "b.TXT")
    assert planned(tmp_path) == {
        "b.png": "0001.png",
        "b.TXT": "0001.TXT",
        "IMG_1.JPG": "0002.JPG",
        "img_1.txt": "0002.txt",
    }


def test_tidy_names_stay(tmp_path):
    make(tmp_path, "0001.png", "0001.txt", "0002.png", "0004.png", "x.png")
    assert planned(tmp_path) == {"0004.png": "0003.png", "x.png": "0004.png"}


def test_more_pictures_than_digits_keep_their_order(tmp_path):
    make(tmp_path, *(f"{n:03}.png" for n in range(12)))
    names = planned(tmp_path, Naming("", 0, 1))
    assert list(names.values()) == [f"{n}.png" for n in range(12)]


@pytest.mark.parametrize("other", ["0002.PNG", "0002.png/x", "masks/0001.png", "Ä0001.TXT"])
def test_what_is_in_the_way_is_named_in_whatever_case(tmp_path, other):
    make(tmp_path, "a.png", "a.txt", "b.png", "masks/a.png", "notes.txt")
    dataset = scan_folder(tmp_path)
    if other.endswith("/x"):
        (tmp_path / other).parent.mkdir()
    else:
        make(tmp_path, other)
    prefix = "a\u0308" if other[0] == "Ä" else ""
    name = other.removesuffix("/x")
    with pytest.raises(ValueError, match=rf"in the way.*Nothing was renamed\.\n.*{name}$"):
        planned(tmp_path, Naming(prefix), dataset)


def test_a_name_that_only_changes_its_case_is_not_in_its_own_way(tmp_path):
    make(tmp_path, "A1.png", "A1.txt")
    assert planned(tmp_path, Naming("a", 1, 1)) == {"A1.png": "a1.png", "A1.txt": "a1.txt"}


def test_a_picture_that_is_gone_is_named(tmp_path):
    dataset = scan_folder(make(tmp_path, "a.png", "b.png"))
    (tmp_path / "a.png").unlink()
    with pytest.raises(ValueError, match=r"gone; queue again.*\n.*a\.png$"):
        plan(dataset, Naming())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"prefix": "a/b"}, "'/' cannot be in a file name"),
        ({"prefix": 'x:"?'}, """'"' ':' '?' cannot be"""),
        ({"prefix": "a\nb"}, r"'\n' cannot be"),
        ({"prefix": "\ud83d"}, r"'\ud83d' cannot be"),
        ({"prefix": " a"}, "must not begin with a space"),
        ({"prefix": ".a"}, "must not begin with a space or a dot"),
        ({"prefix": "a_b_c_d_"}, "face box"),
        ({"start": -1}, "start must be 0 or more"),
        ({"digits": 0}, "digits 1 or more"),
        ({"prefix": ".?", "digits": 0}, "; it must not begin with a space or a dot; start"),
    ],
)
def test_names_that_will_not_do_are_refused(options, said):
    with pytest.raises(ValueError) as told:
        Naming(**options)
    assert said in str(told.value)


def test_prefixes_of_every_script_will_do():
    assert Naming("猫 😀 é_", 7, 3).stem(12) == "猫 😀 é_012"


@pytest.mark.parametrize("prefix", ["COM", "lpt"])
def test_devices_of_windows_are_refused(tmp_path, prefix):
    make(tmp_path, "a.png", "a.tags.txt")
    with pytest.raises(ValueError, match="device of this name"):
        planned(tmp_path, Naming(prefix, 1, 1))
    assert planned(tmp_path, Naming(prefix, 1, 2))


def test_names_and_paths_have_a_length(tmp_path):
    make(tmp_path, "a.png")
    assert planned(tmp_path, Naming("é" * 40))
    with pytest.raises(ValueError, match="longer than 200 bytes"):
        planned(tmp_path, Naming("é" * 97))
    deep = tmp_path / ("d" * (250 - len(str(tmp_path))))
    make(deep, "a.png", "b" * 60 + ".png")
    with pytest.raises(ValueError, match=r"a\.png -> x{9}0001\.png: its path is longer than 259"):
        planned(deep, Naming("x" * 9), scan_folder(deep).without([deep / ("b" * 60 + ".png")]))
    dataset = scan_folder(deep).without([deep / "a.png"])
    assert planned(deep, Naming("x" * 9), dataset)  # shorter than its path was


def test_links_lead_to_the_same_names(tmp_path):
    make(tmp_path / "real", "a.png", "a.txt")
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    moves, _ = plan(scan_folder(tmp_path / "link"), Naming())
    assert {move.folder for move in moves} == {Path(os.path.realpath(tmp_path / "real"))}
