"""Who touches the disk: writing goes through `trainer/files/atomic.py`, or asks `base/inside.py` for each path."""

import ast

import pytest

PACKAGES = ("base", "trainer", "tagger", "nodes")

WRITING = {
    "copy2", "copyfile", "copytree", "hardlink_to", "link", "makedirs", "mkdir", "rename", "renames",
    "symlink", "symlink_to", "touch", "write_bytes", "write_text", "extractall", "save_file", "to_csv", "memmap",
    "hf_hub_download", "snapshot_download", "NamedTemporaryFile", "mkstemp", "mkdtemp", "TemporaryDirectory",
    "FileHandler", "_Handler", "FileLock", "SummaryWriter", "connect",
}  # fmt: skip
"""Functions that make something on the disk, by their last name; `replace`, `open` and `copy` need a closer look."""

EXCEPT = {
    "trainer/files/atomic.py": "asks before it makes the folder and before it writes",
    "trainer/files/lock.py": "an empty file beside the folder, asked for; the folder is asked for by who locks it",
    "trainer/files/small_store.py": "SQLite's file, asked for",
    "trainer/runs/log.py": "asked for",
    "trainer/curves/tensorboard.py": "asked for",
    "trainer/curves/step_table.py": "adds lines to what it wrote itself",
    "trainer/runs/state_files.py": "in the partial file of atomic.py",
    "trainer/runs/trash.py": "moves runs that it found, between the runs and the trash, by a plain name",
    "nodes/host/allowed_folders.py": "puts its own damaged file aside, within its folder",
    "trainer/lora_files/file.py": "renames what it is asked to replace, within its folder",
    "trainer/renaming/journal.py": "renames within a folder, asked for",
    "trainer/dataset/export.py": "every folder and copy is asked for",
    "tagger/wd14/download.py": "both folders are asked for",
    "nodes/host/dataset/clear_cache.py": "asked for",
    "nodes/host/comparing/scores.py": "images in a temporary folder of the system, for the tagger",
    "nodes/host/lora/peft_folder.py": "every folder is asked for; peft writes into a partial one",
    "nodes/host/training/from_config.py": "makes the folder that the user gave on the command line",
}
"""Modules that write by themselves, and why that is safe."""


def _writes(tree):
    """Line and name of every call that makes something on the disk."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        function = call.func
        name = getattr(function, "attr", getattr(function, "id", ""))
        is_method = isinstance(function, ast.Attribute)
        if name == "replace":  # Path's has one argument, that of texts and dataclasses others
            found = is_method and len(call.args) == 1 and not call.keywords
        elif name == "open":
            texts = [a.value for a in ast.walk(call) if isinstance(a, ast.Constant)]
            found = any(isinstance(t, str) and set(t) & set("wax+") and len(t) < 4 for t in texts)
        elif name in ("copy", "move"):
            found = is_method and getattr(function.value, "id", "") == "shutil"
        else:
            found = name in WRITING
        if found:
            yield call.lineno, name


def _modules(root):
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            yield path.relative_to(root).as_posix(), ast.parse(path.read_text("utf-8"))


def test_nobody_else_writes(root):
    found = {name: list(_writes(tree)) for name, tree in _modules(root)}
    found = {name: calls for name, calls in found.items() if calls}
    assert {name: calls for name, calls in found.items() if name not in EXCEPT} == {}
    assert sorted(found) == sorted(EXCEPT)


def test_who_asks_imports_the_question(root):
    asked = {name for name, why in EXCEPT.items() if "ask" in why and "asked to" not in why}
    for name, tree in _modules(root):
        if name in asked:
            imported = {
                a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names
            }
            assert "inside" in imported, name


@pytest.mark.parametrize(
    "text",
    [
        "path.write_text('a')", "path.write_bytes(b'')", "open(path, 'w')", "path.open('ab')", "a.rename(b)",
        "partial.replace(path)", "shutil.copy(a, b)", "shutil.copyfile(a, b)", "os.makedirs(a)", "io.open(a, mode='x')",
    ],
)  # fmt: skip
def test_the_test_finds_writers(text):
    assert list(_writes(ast.parse(text)))


@pytest.mark.parametrize(
    "text", ["a.replace('a', 'b')", "replace(a, b=1)", "a.copy()", "open(path)", "path.open('rb')"]
)
def test_the_test_passes_over_others(text):
    assert not list(_writes(ast.parse(text)))
