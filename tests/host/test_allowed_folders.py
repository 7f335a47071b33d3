"""Where nodes may change files of the user: below the input directory, and where the user said yes once."""

import json
import os
import re
from pathlib import Path

import pytest
from PIL import Image

from pack.nodes.host import allowed_folders as module
from pack.nodes.host import folders
from pack.nodes.host.allowed_folders import VARIABLE, allowed_file, check_allowed, is_too_wide
from pack.nodes.host.dataset import load as loading
from pack.nodes.host.dataset.save_captions import save_captions
from pack.nodes.host.dataset.tidy import tidy_dataset
from pack.trainer.renaming.plan import Naming

pytestmark = pytest.mark.main_host


@pytest.fixture(autouse=True)
def nothing_allowed(monkeypatch):
    monkeypatch.delenv(VARIABLE)


@pytest.fixture
def inputs(base_directory, tmp_path, monkeypatch):
    import folder_paths

    path = tmp_path / "comfyui" / "input"
    path.mkdir(parents=True)
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(path))
    return path


def write(folder):
    """A program with an image of the name of one of its texts."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64)).save(folder / "logo.png")
    for name in ("logo.txt", "logo.py", "readme.txt"):
        (folder / name).write_text(f"text of {name}")
    return folder


def edit(folder):
    dataset, _ = loading.load_dataset(loading.LoadConfig(str(folder)))
    return save_captions(dataset.with_captions(lambda _: "of the workflow's choice"))


def rename(folder, mode="rename"):
    dataset, _ = loading.load_dataset(loading.LoadConfig(str(folder)))
    return tidy_dataset(dataset, Naming("x"), mode)[1]


def snapshot(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


CHANGES = [edit, rename]


@pytest.mark.parametrize("change", CHANGES)
def test_below_the_input_directory_nothing_is_asked(inputs, page, change):
    folder = write(inputs / "set" / "deep")
    before = snapshot(folder)
    change(folder)
    assert snapshot(folder) != before and page.asked == []


@pytest.mark.parametrize("change", CHANGES)
def test_elsewhere_nothing_changes_before_a_person_says_yes(tmp_path, page, change):
    folder = write(tmp_path / "program")
    before = snapshot(folder)
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"may not change files in .*program until you allow it"
        ) as told:
            change(folder)
        said = str(told.value)
        assert "dialog of the browser" in said and VARIABLE in said and str(allowed_file()) in said
        assert said.count(". ") == 0 and snapshot(folder) == before and not allowed_file().exists()
    assert page.asked[-1]["items"] == [f"{folder}, which also holds logo.py"]
    assert str(allowed_file()) in page.say_yes()
    change(folder)
    after = snapshot(folder)
    assert after != before
    assert after["logo.py"] == b"text of logo.py" and after["readme.txt"] == b"text of readme.txt"


def test_an_undo_is_asked_for_too(tmp_path, page, monkeypatch):
    folder = write(tmp_path / "set")
    monkeypatch.setenv(VARIABLE, str(folder))
    rename(folder)
    before = snapshot(folder)
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(ValueError, match="may not change files"):
        rename(folder, "undo")
    assert snapshot(folder) == before
    page.say_yes()
    rename(folder, "undo")
    assert "logo.png" in snapshot(folder)


def test_what_only_reads_is_not_asked_for(tmp_path, page):
    folder = write(tmp_path / "set")
    assert "would be renamed" in rename(folder, "dry run")
    dataset, _ = loading.load_dataset(loading.LoadConfig(str(folder)))
    assert save_captions(dataset).startswith("0 caption file(s) written")
    assert "no renaming to undo" in rename(folder, "undo") and page.asked == []


def test_a_permission_is_kept_and_covers_what_is_below_and_nothing_else(tmp_path, page):
    for name in ("set", "set/below/deep", "set2", "other"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(ValueError, match="may not"):
        check_allowed([tmp_path / "set"], "Node")
    page.say_yes()
    check_allowed([tmp_path / "set", tmp_path / "set" / "below" / "deep"], "Node")
    for name in ("set2", "other", ".", "set/..", "set/../other"):
        with pytest.raises(ValueError, match=r"may not|cannot be allowed"):
            check_allowed([tmp_path / name], "Node")
    assert json.loads(allowed_file().read_text()) == {"folders": [str(tmp_path / "set")]}


def test_several_folders_are_one_question_without_those_below(tmp_path, page):
    paths = [tmp_path / name for name in ("b", "a", "a/masks", "a/c")]
    for path in paths:
        path.mkdir()
    with pytest.raises(ValueError, match="may not"):
        check_allowed(paths, "Node")
    (asked,) = page.asked
    assert asked["items"] == [str(tmp_path / "a"), str(tmp_path / "b")]


@pytest.mark.parametrize("change", CHANGES)
def test_links_are_followed_on_both_sides(inputs, tmp_path, page, change, monkeypatch):
    """A link below an allowed folder allows nothing; a link to an allowed folder is one."""
    outside = write(tmp_path / "outside")
    (inputs / "link").symlink_to(outside, target_is_directory=True)
    before = snapshot(outside)
    with pytest.raises(ValueError, match=r"may not change files in \S*outside "):
        change(inputs / "link")
    assert snapshot(outside) == before
    (tmp_path / "way").symlink_to(outside, target_is_directory=True)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "way"))
    change(inputs / "link")
    assert snapshot(outside) != before


def test_a_caption_that_is_a_link_out_of_an_allowed_folder_is_refused(inputs, tmp_path, page):
    folder, target = write(inputs / "set"), tmp_path / "outside" / "notes.txt"
    target.parent.mkdir()
    target.write_text("mine")
    (folder / "logo.txt").unlink()
    (folder / "logo.txt").symlink_to(target)
    with pytest.raises(ValueError, match=r"may not change files in \S*outside "):
        edit(folder)
    assert target.read_text() == "mine" and (folder / "logo.txt").is_symlink()
    page.say_yes()
    edit(folder)
    assert target.read_text() == "of the workflow's choice\n" and (folder / "logo.txt").is_symlink()


def test_masks_in_a_linked_folder_are_asked_for(inputs, tmp_path, page):
    folder, masks = write(inputs / "set"), tmp_path / "masks"
    masks.mkdir()
    Image.new("L", (64, 64)).save(masks / "logo.png")
    (folder / "masks").symlink_to(masks, target_is_directory=True)
    with pytest.raises(ValueError, match=r"may not change files in \S*masks "):
        rename(folder)
    assert (masks / "logo.png").exists() and (folder / "logo.png").exists()


def test_our_own_copies_need_no_permission(page):
    for root in (folders.pictures_root(), folders.exports_root(), folders.class_images_root()):
        (root / "x").mkdir(parents=True)
        check_allowed([root / "x"], "Node")
    for root in (folders.output_root(), folders.runs_root(), folders.renames_root()):
        root.mkdir(exist_ok=True)
        with pytest.raises(ValueError, match=r"may not|cannot be allowed"):
            check_allowed([root], "Node")


def test_the_input_directory_itself_holds_other_workflows_images(inputs, page):
    with pytest.raises(ValueError, match="may not"):
        check_allowed([inputs], "Node")


WIDE = [
    *("/", "~", "~/..", "/home", "/etc", "/etc/ssl", "/usr", "/usr/bin", "/usr/lib/python3", "/var", "/bin"),
    *("/tmp", "/opt", "/mnt", "/dev/shm", "/proc/self"),
]  # fmt: skip


@pytest.mark.parametrize("name", WIDE)
def test_what_is_much_more_than_a_dataset_cannot_be_allowed(page, name, monkeypatch):
    folder = Path(name).expanduser()
    if not folder.exists():
        pytest.skip("not on this system")
    for given in ("", str(folder)):
        monkeypatch.setenv(VARIABLE, given)
        with pytest.raises(ValueError, match="which holds much more than a dataset"):
            check_allowed([folder], "Node")
    assert page.asked == []


@pytest.mark.parametrize(
    ("name", "wide"),
    [("/mnt/c", True), ("/media/me/USB", True), ("/run/media/me/USB", True), ("/Volumes/USB", True),
     ("/data", False), ("/workspace/set", False)],
)  # fmt: skip
def test_a_drive_cannot_be_allowed_but_a_folder_that_a_container_mounts(monkeypatch, name, wide):
    """Neither exists here: what is asked is whether they are mounted, and what they are."""
    monkeypatch.setattr(Path, "is_mount", lambda self: str(self) == name)
    monkeypatch.setattr(module, "_identity", lambda path: (1, hash(path)))
    assert is_too_wide(Path(name)) is wide and not is_too_wide(Path(name) / "set")


def test_nor_can_comfyui_itself_and_its_nodes(page, tmp_path):
    import folder_paths

    nodes = Path(folder_paths.get_folder_paths("custom_nodes")[0])
    (nodes / "pack").mkdir(exist_ok=True)
    for folder in (
        folder_paths.base_path,
        Path(folder_paths.__file__).parent,
        nodes,
        nodes / "pack",
    ):
        assert is_too_wide(Path(os.path.realpath(folder)))
    assert not is_too_wide(tmp_path)


def test_a_wide_folder_in_the_list_allows_nothing(tmp_path, page, caplog):
    allowed_file().parent.mkdir()
    allowed_file().write_text(json.dumps({"folders": ["/", str(Path.home()), "/tmp", "relative"]}))
    with pytest.raises(ValueError, match="may not"):
        check_allowed([tmp_path], "Node")
    assert "more than can be allowed" in caplog.text


DAMAGED = ["", "{", "null", "[]", "3", '{"folders": null}', '{"folders": "/"}', '{"folders": [3]}', '{"folders": ["\\u0000"]}',
           '{"other": []}', "\ufeff{}", "[" * 5000, '{"folders": [["a"]]}']  # fmt: skip


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_list_allows_nothing_and_is_told_and_kept(tmp_path, page, text):
    allowed_file().parent.mkdir()
    allowed_file().write_text(text, "utf-8")
    with pytest.raises(
        ValueError, match=r"may not .*allowed_folders\.json is damaged .*nothing that it"
    ):
        check_allowed([tmp_path], "Node")
    assert allowed_file().read_text("utf-8") == text
    page.say_yes()
    check_allowed([tmp_path], "Node")
    assert allowed_file().with_suffix(".damaged.json").read_text("utf-8") == text


def test_a_list_that_is_no_text_or_cannot_be_read(tmp_path, page):
    allowed_file().mkdir(parents=True)
    with pytest.raises(ValueError, match="is damaged"):
        check_allowed([tmp_path], "Node")
    allowed_file().rmdir()
    allowed_file().write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is damaged"):
        check_allowed([tmp_path], "Node")


def test_the_environment_allows_for_servers_without_a_browser(tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match=VARIABLE) as told:
        check_allowed([tmp_path / "a"], "Node")
    assert "browser" not in str(told.value)  # there is none
    monkeypatch.setenv(VARIABLE, os.pathsep.join(["", str(tmp_path / "a"), str(tmp_path / "b")]))
    check_allowed([tmp_path / "a", tmp_path / "b"], "Node")
    with pytest.raises(ValueError, match=r"\S*c until"):
        check_allowed([tmp_path / "a", tmp_path / "c"], "Node")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv(VARIABLE, "~/c")
    check_allowed([tmp_path / "c"], "Node")
    assert not allowed_file().exists()


def test_a_list_that_cannot_be_written_allows_nothing(tmp_path, page):
    allowed_file().parent.write_text("a file, no folder")
    with pytest.raises(ValueError, match="may not"):
        check_allowed([tmp_path], "Node")
    with pytest.raises(OSError, match="user"):
        page.say_yes()
    with pytest.raises(ValueError, match="may not"):
        check_allowed([tmp_path], "Node")


def test_names_are_shown_as_they_are(tmp_path, page):
    folder = tmp_path / "a\u202egnp.exe\n<b>x"
    folder.mkdir()
    with pytest.raises(ValueError, match=re.escape(r"a\u202egnp.exe\n<b>x")):
        check_allowed([folder], "Node")
    assert page.asked[0]["items"] == [f"{tmp_path}{os.sep}a\\u202egnp.exe\\n<b>x"]
    page.say_yes()
    check_allowed([folder], "Node")


def test_every_writer_into_a_dataset_folder_asks(root):
    """The functions that write beside images are called by two modules, and those give them the check."""
    found = {}
    for path in (root / "nodes").rglob("*.py"):
        for call in re.findall(
            r"\b(write_captions|tidy)\(([^()]*(?:\(\))?[^()]*)\)", path.read_text("utf-8")
        ):
            found[path.name] = call
    assert {name: call[0] for name, call in found.items()} == {
        "save_captions.py": "write_captions",
        "tidy.py": "tidy",
    }
    assert all(call[1].endswith("check") for call in found.values())


def test_the_demo_names_the_same_variable(root):
    assert f'ALLOWED = "{VARIABLE}"' in (root / "demo" / "run.py").read_text("utf-8")
    assert module.VARIABLE in (root / "README.md").read_text("utf-8")
