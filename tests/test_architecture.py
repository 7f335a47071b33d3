"""What the house looks like, read from the sources: who imports whom, and versions."""

import ast
import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("base", "nodes", "trainer", "tagger", "replay", "demo", "bench")
COMFYUI = {"folder_paths", "server", "nodes", "execution", "latent_preview", "app", "node_helpers"}
"""ComfyUI's modules on its own sys.path, beside those whose names begin with `comfy`."""

MAY_IMPORT_COMFYUI = {
    "nodes": "anywhere",
    "replay": "lazily",
    "demo": "lazily",
    "bench": "lazily",
    "headless": "lazily",
}
OWN = {
    "base": {"base"},
    "trainer": {"trainer", "base"},
    "tagger": {"tagger", "base"},
    "replay": {"replay", "trainer", "tagger", "nodes", "base"},
    "nodes": {"nodes", "trainer", "tagger", "base"},
}
"""Which of the pack's folders a folder may import; the others are scripts."""

TRAINER_PACKAGES: dict[str, set[str]] = {
    "files": set(),
    "sdxl": set(),
    "device": set(),
    "rng": set(),
    "config": {"sdxl"},
    "dataset": {"config", "files", "sdxl"},
    "renaming": {"dataset", "files"},
    "cache": {"dataset"},
    "batches": {"cache", "device", "rng"},
    "frozen": {"device"},
    "optim": {"config", "device", "rng"},
    "network": {"frozen", "optim", "batches"},
    "layers": {"network", "frozen"},
    "memory": {"layers", "optim"},
    "training": {"network", "batches", "optim"},
    "lora_files": {"batches", "config", "sdxl"},
    "lora_tools": {"lora_files", "rng"},
    "curves": {"training"},
    "runs": {"curves", "lora_files"},
    "validation": {"runs", "training"},
    "kohya": {"config", "dataset"},
}
"""The packages of `trainer` in the order in which data flows, and what each may import: these, and what
these may import in turn."""

PACKAGES = {
    "trainer": TRAINER_PACKAGES,
    "tagger": {
        "captions": set(),
        "scores": {"captions"},
        "wd14": {"captions"},
        "images": {"captions", "wd14"},
    },
    "nodes/host": {
        "web": set(),
        "model": set(),
        "previews": {"model"},
        "lora": {"model"},
        "dataset": {"model", "previews", "web"},
        "measuring": {"model", "lora", "dataset"},
        "training": {"model", "previews", "lora", "dataset"},
        "scoring": {"previews", "dataset", "lora"},
        "comparing": {"training", "measuring", "scoring"},
        "ranks": {"training"},
        "pages": {"training", "web"},
    },
}
"""The same for every folder that has rooms."""

CORE_LIBRARIES = {
    "torch", "numpy", "PIL", "cv2", "safetensors", "onnxruntime", "huggingface_hub", "regex", "filelock", "triton",
}  # fmt: skip


class Import(NamedTuple):
    """One imported module. name: absolute, those of the pack as `pack.folder.module`."""

    name: str
    lazy: bool
    line: int
    relative: bool


def sources():
    """Every Python file of the pack itself, tests left out."""
    found = sorted(path for name in FOLDERS for path in (ROOT / name).rglob("*.py"))
    return [*found, *sorted(ROOT.glob("*.py"))]


def part(path):
    """The folder that a file belongs to, or the name of a file at the top."""
    relative = path.relative_to(ROOT)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports(path, text=None):
    """Everything a file imports, also by a constant name through importlib."""
    tree = ast.parse(path.read_text("utf-8") if text is None else text)
    package = ("pack", *path.relative_to(ROOT).parent.parts)
    found = []

    def visit(node, lazy):
        for child in ast.iter_child_nodes(node):
            names = []
            if isinstance(child, ast.Import):
                names = [alias.name for alias in child.names]
            elif isinstance(child, ast.ImportFrom):
                names = _from(child, package)
            elif isinstance(child, ast.Call) and child.args:
                function = ast.unparse(child.func).split(".")[-1]
                first = child.args[0]
                if function in ("import_module", "__import__") and isinstance(first, ast.Constant):
                    names = [first.value]
            relative = bool(getattr(child, "level", 0))
            found.extend(Import(name, lazy, child.lineno, relative) for name in names)
            visit(child, lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))

    visit(tree, False)
    return found


def _from(node, package):
    if not node.level:
        return [node.module]
    base = ".".join(package[: len(package) - node.level + 1])
    assert base, f"an import above the pack: {ast.unparse(node)}"
    where = f"{base}.{node.module}" if node.module else base
    return [where, *(f"{where}.{alias.name}" for alias in node.names)]


def is_comfyui(name):
    top = name.split(".")[0]
    return top.startswith("comfy") or top in COMFYUI


def offences(rule):
    """`file:line imports name` for every import that breaks a rule(part, import)."""
    return [
        f"{path.relative_to(ROOT)}:{found.line} imports {found.name}"
        for path in sources()
        for found in imports(path)
        if rule(part(path), found)
    ]


def test_only_the_seam_imports_comfyui():
    def rule(where, found):
        allowed = MAY_IMPORT_COMFYUI.get(where)
        return is_comfyui(found.name) and not (
            allowed == "anywhere" or (allowed == "lazily" and found.lazy)
        )

    assert offences(rule) == []


def test_imports_run_one_way():
    def rule(where, found):
        target = found.name.split(".")[1:2]
        is_ours = found.name.startswith("pack.") and (ROOT / target[0]).is_dir()
        return where in OWN and is_ours and target[0] not in OWN[where]

    assert offences(rule) == []


def below(rooms, room):
    """A room and every room that it may import."""
    return {room}.union(*(below(rooms, lower) for lower in rooms[room]))


def upward(path, found):
    """Whether an import leads from a room to one that does not stand below it."""
    for folder, rooms in PACKAGES.items():
        here = path.relative_to(ROOT).as_posix().removeprefix(f"{folder}/").split("/")[0]
        there = found.name.replace(".", "/").removeprefix(f"pack/{folder}/").split("/")[0]
        here = here.removesuffix(".py")
        inside = found.name.startswith("pack." + folder.replace("/", ".") + ".")
        if path.is_relative_to(ROOT / folder) and here in rooms and inside and there in rooms:
            return there not in below(rooms, here)
    return False


def test_every_package_imports_only_lower_ones():
    found = [
        f"{path.relative_to(ROOT)}:{line.line} imports {line.name}"
        for path in sources()
        for line in imports(path)
        if upward(path, line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("place", "text", "is_upward"),
    [
        ("trainer/files/atomic.py", "from ..dataset.scan import scan_folder", True),
        ("trainer/network/network.py", "def f():\n    from ..layers import attach", True),
        ("trainer/runs/log.py", "from ..validation import book", True),
        ("trainer/rng.py", "from .config import train", True),
        ("trainer/layers/kernels/gating.py", "from ...memory.plan import Need", True),
        ("trainer/memory/plan.py", "from ..sdxl import blocks", False),
        ("trainer/training/loop.py", "from .step import Step", False),
        ("nodes/host/model/unet.py", "from ..training import train", True),
        ("nodes/host/training/train.py", "from ..model import unet", False),
        ("tagger/captions/prose.py", "from ..wd14 import labels", True),
    ],
)
def test_the_walk_sees_an_import_upwards(place, text, is_upward):
    path = ROOT / place
    assert any(upward(path, found) for found in imports(path, text)) is is_upward


def test_the_table_names_every_package_and_stands_in_order():
    for folder, rooms in PACKAGES.items():
        packages = {path.parent.name for path in (ROOT / folder).glob("*/__init__.py")}
        assert packages == {room for room in rooms if (ROOT / folder / room).is_dir()}, folder
        order = list(rooms)
        for room, lower in rooms.items():
            assert all(order.index(name) < order.index(room) for name in lower), room


def test_the_core_needs_no_other_library():
    def rule(where, found):
        top = found.name.split(".")[0]
        known = sys.stdlib_module_names | CORE_LIBRARIES | {"pack"}
        return where in ("base", "trainer", "tagger") and top not in known

    assert offences(rule) == []


def test_the_pack_imports_itself_only_relatively():
    """ComfyUI loads it under a name that nobody knows beforehand; `pack` is that of the tests."""
    names = {"pack", "lora_loop", *FOLDERS} - {"nodes"}

    def rule(where, found):
        return (ROOT / where).is_dir() and not found.relative and found.name.split(".")[0] in names

    assert offences(rule) == []


def test_the_entry_point_is_lazy():
    assert all(found.lazy for found in imports(ROOT / "__init__.py"))


def test_the_scripts_of_a_fresh_machine_need_the_standard_library_only():
    known = sys.stdlib_module_names | {"bootstrap", "quickstart"}
    for name in ("quickstart.py", "bootstrap.py", "headless.py"):
        eager = {found.name.split(".")[0] for found in imports(ROOT / name) if not found.lazy}
        assert eager <= known, name


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("import comfy.utils", ["comfy.utils"]),
        ("from comfy_api.latest import io", ["comfy_api.latest"]),
        ("from ..nodes.host import unet", ["pack.nodes.host", "pack.nodes.host.unet"]),
        ("from .. import nodes, tagger", ["pack", "pack.nodes", "pack.tagger"]),
        ("from .rng import draw", ["pack.trainer.rng", "pack.trainer.rng.draw"]),
        ("try:\n    import nodes\nexcept ImportError:\n    pass", ["nodes"]),
        ("if TYPE_CHECKING:\n    import server", ["server"]),
        ("importlib.import_module('folder_paths')", ["folder_paths"]),
        ("class A:\n    import execution", ["execution"]),
    ],
)
def test_the_walk_sees_every_way_of_importing(text, names):
    found = imports(ROOT / "trainer" / "made_up.py", text)
    assert [entry.name for entry in found] == names
    assert not any(entry.lazy for entry in found)
    inside = "def function():\n" + "\n".join(f"    {line}" for line in text.split("\n"))
    assert all(entry.lazy for entry in imports(ROOT / "trainer" / "made_up.py", inside))


def test_the_walk_knows_comfyui_and_finds_the_files():
    assert all(is_comfyui(name) for name in ("comfy", "comfy.sd", "comfy_extras.x", "folder_paths"))
    assert not any(is_comfyui(name) for name in ("pack.nodes", "torch", "serverless", "numpy"))
    assert {"base", "nodes", "trainer", "tagger", "replay", "demo", "headless", "__init__"} <= {
        part(path) for path in sources()
    }


def test_the_version_is_said_alike():
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    (version,) = re.findall(r'^version = "([^"]+)"$', project, re.M)
    stated = ast.parse((ROOT / "trainer" / "lora_files" / "metadata.py").read_text("utf-8"))
    (assigned,) = [
        node.value.value
        for node in stated.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "VERSION"
    ]
    assert assigned == version


def test_the_requirements_are_said_alike():
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    (dependencies,) = re.findall(r"^dependencies = (\[.*?\])$", project, re.M | re.S)
    required = (ROOT / "requirements.txt").read_text("utf-8").split("\n")
    assert [line for line in required if line] == ast.literal_eval(dependencies)
    # No version may be asked for: the host's own stays in place.
    names = [name.partition("; python_version")[0] for name in ast.literal_eval(dependencies)]
    assert all(re.fullmatch(r"[a-z_-]+", name) for name in names)
    assert not {"torch", "transformers"} & set(ast.literal_eval(dependencies))
