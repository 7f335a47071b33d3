"""Files that other programs put beside images are used for what they are, or told; none is trained."""

import pytest
from PIL import Image

from pack.tests.trainer.picture_folder import picture
from pack.trainer.dataset.export import export_kohya
from pack.trainer.dataset.scan import scan_folder
from pack.trainer.dataset.subsets import merged
from pack.trainer.renaming.plan import Naming
from pack.trainer.renaming.tidy import tidy


def tree(root, *names):
    for place, name in enumerate(names):
        picture(root / name, colour=(place, 0, 0))
    return root


def used(dataset):
    return [sample.path.name for _, sample in dataset.samples()]


def listed(dataset):
    return {problem.path.name: problem.reason for problem in dataset.problems}


def masks(dataset):
    return {s.path.name: s.mask.name for _, s in dataset.samples() if s.mask}


def test_onetrainers_masks_are_the_samples_masks(tmp_path):
    tree(tmp_path, "a.jpg", "a-masklabel.png", "b.v2.png", "b.v2-MaskLabel.png", "c.png")
    dataset = scan_folder(tmp_path)
    assert used(dataset) == ["a.jpg", "b.v2.png", "c.png"]
    assert masks(dataset) == {"a.jpg": "a-masklabel.png", "b.v2.png": "b.v2-MaskLabel.png"}
    assert all(s.mask_digest for _, s in dataset.samples() if s.mask)
    assert dataset.problems == ()
    assert "2 picture(s) with a mask" in dataset.report()


def test_a_folder_of_masks_comes_first_and_a_damaged_mask_is_listed(tmp_path):
    tree(tmp_path, "a.png", "a-masklabel.png", "masks/a.png", "b.png", "b-masklabel.png")
    (tmp_path / "b-masklabel.png").write_bytes(b"broken")
    dataset = scan_folder(tmp_path)
    assert [s.mask for _, s in dataset.samples()] == [tmp_path / "masks" / "a.png"]
    assert listed(dataset)["b.png"].startswith("its mask cannot be used: it is not a PNG")


def test_masks_in_their_folder_may_be_named_as_elsewhere_and_those_of_no_image_are_told(tmp_path):
    names = ["a_mask.png", "b-masklabel.png", "c.png", "d.mask.png", "e.png", "a2.png", "g.png"]
    tree(
        tmp_path,
        "a.png",
        "b.png",
        "c.png",
        "d.png",
        "f.png",
        "g.tif",
        *(f"masks/{n}" for n in names),
    )
    dataset = scan_folder(tmp_path)
    assert masks(dataset) == {
        "a.png": "a_mask.png", "b.png": "b-masklabel.png", "c.png": "c.png", "d.png": "d.mask.png",
    }  # fmt: skip
    assert listed(dataset)["masks"] == "masks of no image here, not used: a2.png; e.png"


SIDE = {
    "mask": ["a_mask.png", "a.mask.png", "a-mask.jpg", "A_MASK.png", "a_masks.png", "mask_a.png"],
    "conditioning image": ["a-condlabel.png", "a_cond.png", "a.control.png", "a_conditioning.png"],
    "thumbnail": ["a.thumb.jpg", "a_thumbnail.png", "a.preview.png", "thumb_a.jpg", "a_thumb_200.jpg"],
}  # fmt: skip
NAMES = [(name, kind) for kind, names in SIDE.items() for name in names]


@pytest.mark.parametrize(("name", "kind"), NAMES)
def test_other_conventions_are_listed_beside_their_image(tmp_path, name, kind):
    tree(tmp_path, "a.png", "b.png", name)
    dataset = scan_folder(tmp_path)
    assert used(dataset) == ["a.png", "b.png"] and not masks(dataset)
    assert listed(dataset)[name].startswith(f"it looks like the {kind} of a, not used")
    assert f"  {name}: it looks like" in dataset.report()
    assert ("folder named masks as a.png" in listed(dataset)[name]) == (kind == "mask")


@pytest.mark.parametrize("name", [name for name, _ in NAMES] + ["a-masklabel.png"])
def test_without_its_image_each_is_an_image(tmp_path, name):
    tree(tmp_path, "b.png", name)
    dataset = scan_folder(tmp_path)
    assert sorted(used(dataset)) == sorted(["b.png", name]) and dataset.problems == ()


@pytest.mark.parametrize(
    "name", ["unmask.png", "a_masked.png", "amask.png", "a_controlled.png", "a2.png"]
)
def test_names_that_only_look_similar_are_images(tmp_path, name):
    tree(tmp_path, "a.png", name)
    assert sorted(used(scan_folder(tmp_path))) == sorted(["a.png", name])


def test_a_mask_of_an_image_that_is_not_read_is_no_image(tmp_path):
    tree(tmp_path, "a.tif", "a-masklabel.png", "a_mask.png", "b.png")
    dataset = scan_folder(tmp_path)
    assert used(dataset) == ["b.png"] and listed(dataset).keys() == {"a.tif", "a_mask.png"}


FOLDERS = [
    "mask",
    "Masks",
    "_masks",
    "MASK",
    "conditioning",
    "control",
    "thumbnails",
    "Thumbs",
    "previews",
]


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("recursive", [False, True])
@pytest.mark.parametrize("home", ["", "3_cat/"])
def test_folders_of_side_files_are_told_and_not_read(tmp_path, folder, recursive, home):
    tree(tmp_path, f"{home}a.png", f"{home}b.jpg", f"{home}{folder}/a.png", f"{home}{folder}/b.png")
    dataset = scan_folder(tmp_path, recursive=recursive)
    assert used(dataset) == ["a.png", "b.jpg"]
    assert listed(dataset)[folder].startswith("it looks like ")
    assert ("name it masks" in listed(dataset)[folder]) == ("mask" in folder.lower())


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_of_that_name_with_images_of_its_own_is_read(tmp_path, folder):
    tree(tmp_path, "a.png", f"{folder}/a.png", f"{folder}/another.png")
    assert len(used(scan_folder(tmp_path, recursive=True))) == 3
    (problem,) = scan_folder(tmp_path).problems
    assert problem.path.name == folder and "switch recursive on" in problem.reason


def test_masks_in_a_numbered_folder_are_images(tmp_path):
    tree(tmp_path, "a.png", "5_mask/a.png")
    assert len(used(scan_folder(tmp_path))) == 2


@pytest.mark.parametrize(
    "name",
    [
        "lora_e000002_00_20260101120000.png", "lora_000250_01_20260101120000_42.png",
        "2026-01-01_12-00-00-training-sample-250-0-0.png", "1700000000000__000000250_1.jpg",
    ],
)  # fmt: skip
def test_a_trainers_samples_are_listed_in_a_folder_of_samples(tmp_path, name):
    tree(tmp_path, "a.png", f"sample/{name}", "sample/mine.png")
    dataset = scan_folder(tmp_path, recursive=True)
    assert used(dataset) == ["a.png", "mine.png"]
    assert listed(dataset)[name].startswith("a trainer's sample, not used")
    tree(tmp_path / "other", name)
    assert used(scan_folder(tmp_path / "other")) == [name]


def test_what_no_image_uses_is_told(tmp_path):
    tree(
        tmp_path,
        "a.png",
        "b.png",
        "._a.png",
        ".ipynb_checkpoints/a-checkpoint.png",
        "__MACOSX/x.png",
    )
    for name in (
        "a_0064x0064_sdxl.npz", "a.npz", "b.npz", "c.npz", "a.safetensors", "a.json", "meta.jsonl",
        "Thumbs.db", "desktop.ini", "__MACOSX/._x.png", ".DS_Store",
    ):  # fmt: skip
        (tmp_path / name).write_bytes(b"x")
    for recursive in (False, True):
        dataset = scan_folder(tmp_path, recursive=recursive)
        assert used(dataset) == ["a.png", "b.png"]
        assert listed(dataset) == {"__MACOSX": "it is what macOS puts into archives, not read"}
        (note,) = dataset.notes
        for part in (
            "a.npz, a_0064x0064_sdxl.npz, b.npz and 1 more (caches of another trainer)",
            "a.safetensors (caches or weights)", "a.json, meta.jsonl (metadata)",
            "Thumbs.db, desktop.ini (the system's)", "._a.png, .ipynb_checkpoints (hidden)",
        ):  # fmt: skip
            assert part in note
        assert dataset.report().endswith(note)
    assert merged([dataset, dataset]).notes == dataset.notes


def test_tidy_renames_a_mask_with_its_image_and_export_writes_it(tmp_path):
    root = tree(tmp_path / "set", "b.png", "b-masklabel.png", "b_thumb.jpg", "c.png")
    Image.new("L", (32, 24), 200).save(root / "c_mask.png")
    picture(root / "masks" / "c.mask.png")
    exported = export_kohya(scan_folder(root), tmp_path, "out").folder
    assert (exported / "img" / "1_set" / "masks" / "b.png").is_file()
    tidied, _ = tidy(scan_folder(root), Naming("n"), "rename", tmp_path / "journals")
    names = {"n0001.png", "n0001-masklabel.png", "n0001_thumb.jpg", "n0002.png", "n0002_mask.png"}
    assert {path.name for path in root.iterdir()} == {*names, "masks"}
    found = [s.mask for _, s in tidied.samples()]
    assert found == [root / "n0001-masklabel.png", root / "masks" / "n0002.mask.png"]
    again = scan_folder(root)
    assert used(again) == ["n0001.png", "n0002.png"] and masks(again) == masks(tidied)
    tidy(again, Naming(), "undo", tmp_path / "journals")
    assert masks(scan_folder(root)) == {"b.png": "b-masklabel.png", "c.png": "c.mask.png"}


@pytest.mark.parametrize(
    ("masked", "said"),
    [(False, ", not used: masked_loss is off"), (True, ""), (None, ", for masked loss")],
)
def test_the_report_says_whether_masks_are_used(tmp_path, masked, said):
    dataset = scan_folder(tree(tmp_path, "a.png", "a-masklabel.png"))
    assert f"\n1 picture(s) with a mask{said}" in f"\n{dataset.report(masked)}\n"
    assert dataset.report(masked).split("\n")[-1] == f"1 picture(s) with a mask{said}"


def test_a_folder_named_by_a_number_alone_is_kohyas(tmp_path):
    tree(
        tmp_path, "10/a.png", "010_cat/b.png", "１２_dog/c.png", "3_/d.png", "0/e.png", "x_1/f.png"
    )
    dataset = scan_folder(tmp_path)
    found = {s.name: (s.repeats, s.class_tokens, s.samples[0].caption) for s in dataset.subsets}
    assert found == {
        "10": (10, "", ""), "010_cat": (10, "cat", "cat"), "１２_dog": (12, "dog", "dog"), "3_": (3, "", ""),
    }  # fmt: skip
    assert listed(dataset).keys() == {"0", "x_1"}
    assert all("sub-folder not read" in reason for reason in listed(dataset).values())
