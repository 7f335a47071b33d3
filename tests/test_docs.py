"""Every node has a help page that names its inputs, defaults and outputs as the schema has them.

The schemas are read from the source, not imported, so that no ComfyUI is needed.
"""

import ast
import dataclasses
import importlib
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from pack import headless

ROOT = Path(__file__).resolve().parents[1]
NODES = ROOT / "nodes"
PAGES = ROOT / "js" / "docs"
SOCKETS_OF_TRAIN = (
    10  # those of its SETTINGS table, run_settings, speed_settings and embedding_settings
)
OF_HOST = {
    "PreviewConfig": "previews/previewer.py",
    "LoadConfig": "dataset/load.py",
    "ClassImagesConfig": "dataset/class_images.py",
}
"""Configs that cannot be imported without ComfyUI, and where they are."""
REQUIRED, OPTIONAL = "required", "optional"
POINT = re.compile(
    r"- \*\*`(?P<name>[\w ]+)`\*\*(?: \((?P<remark>[^)]+)\))?: .+?(?: \*Default: (?P<default>.+)\.\*)?"
)
"""An input or output on a help page."""


class Input(NamedTuple):
    """What a page must say of an input: its default as the page writes it, and whether advanced."""

    default: str
    is_advanced: bool


class Node(NamedTuple):
    """What a schema says."""

    node_id: str
    display_name: str
    inputs: dict[str, Input]
    outputs: list[str]


def _shown(value: Any) -> str:
    """A default as the pages write it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if value == "":
        return "empty"
    return f"`{value:g}`" if isinstance(value, (int, float)) else f"`{value}`"


def _class_defaults(path: Path, name: str) -> SimpleNamespace:
    """The literal defaults of a class that cannot be imported without ComfyUI."""
    tree = ast.parse(path.read_text("utf-8"))
    (found,) = (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
    fields = [n for n in found.body if isinstance(n, ast.AnnAssign) and n.value is not None]
    return SimpleNamespace(**{n.target.id: ast.literal_eval(n.value) for n in fields})


def _names(tree: ast.Module) -> dict[str, Any]:
    """What a node module's defaults may refer to: the pure packages' names and its own constants."""
    names: dict[str, Any] = {}
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom) and statement.level == 2:
            module = importlib.import_module(f"pack.{statement.module}")
            names |= {alias.name: getattr(module, alias.name) for alias in statement.names}
        elif isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            names[statement.targets[0].id] = statement.value.value
    for name, place in OF_HOST.items():
        names[name] = _class_defaults(NODES / "host" / place, name)
    return names


def _value(expression: ast.expr, names: dict[str, Any]) -> Any:
    """A default's value: a literal, a name, or `Config().field[0]`."""
    if isinstance(expression, ast.Name):
        return names[expression.id]
    if isinstance(expression, ast.Attribute):
        return getattr(_value(expression.value, names), expression.attr)
    if isinstance(expression, ast.Call):
        return _value(expression.func, names)()
    if isinstance(expression, ast.Subscript):
        return _value(expression.value, names)[ast.literal_eval(expression.slice)]
    return ast.literal_eval(expression)


def _config_default(config: Any, name: str) -> Any:
    if not dataclasses.is_dataclass(config):
        return getattr(config, name)
    return next(f.default for f in dataclasses.fields(config) if f.name == name)


def _calls(elements: list[ast.expr], *functions: str) -> list[ast.Call]:
    return [e for e in elements if isinstance(e, ast.Call) and e.func.id in functions]


def _input(call: ast.Call, names: dict[str, Any]) -> tuple[str, Input]:
    name = ast.literal_eval(call.args[1])
    options = {keyword.arg: keyword.value for keyword in call.keywords}
    flags = {
        key: ast.literal_eval(options[key]) for key in ("advanced", "optional") if key in options
    }
    if call.func.id == "setting":
        default = _shown(_config_default(names[call.args[0].id], name))
    elif "default" in options:
        default = _shown(_value(options["default"], names))
    else:
        default = OPTIONAL if flags.get("optional") else REQUIRED
    return name, Input(default, flags.get("advanced", False))


def _settings_of_train(tree: ast.Module) -> dict[str, Input]:
    (table,) = (
        s.value for s in tree.body if isinstance(s, ast.Assign) and s.targets[0].id == "SETTINGS"
    )
    return {ast.literal_eval(row.elts[1]): Input(OPTIONAL, False) for row in table.elts}


def _node(call: ast.Call, tree: ast.Module) -> Node:
    options = {keyword.arg: keyword.value for keyword in call.keywords}
    elements, names = options["inputs"].elts, _names(tree)
    inputs = dict(_input(element, names) for element in _calls(elements, "field", "setting"))
    if any(isinstance(element, ast.Starred) for element in elements):
        inputs |= _settings_of_train(tree)
    outputs = [ast.literal_eval(o.args[1]) for o in _calls(options["outputs"].elts, "output")]
    identifier = f"LoraLoop{ast.literal_eval(call.args[0])}"
    return Node(identifier, ast.literal_eval(options["display_name"]), inputs, outputs)


def read_nodes() -> list[Node]:
    """Every schema of nodes/*.py."""
    found = []
    for path in sorted(NODES.glob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "node":
                found.append(_node(call, tree))
    return found


ALL = read_nodes()


def _points(text: str, heading: str) -> list[re.Match[str]]:
    """The points of the list below a heading: name, remark in brackets, what, default.

    Lists, because ComfyUI's help panel cuts tables at its usual width.
    """
    section = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("- ")]
    found = [POINT.fullmatch(line) for line in lines]
    assert None not in found, [line for line, one in zip(lines, found, strict=True) if not one]
    return [one for one in found if one]


def test_the_schemas_are_read():
    listed = ast.parse((NODES / "extension.py").read_text("utf-8"))
    (table,) = (s.value for s in listed.body if isinstance(s, ast.AnnAssign))
    assert len(ALL) == len(table.elts)
    (train,) = (node for node in ALL if node.node_id == "LoraLoopTrain")
    assert sum(name.endswith("_settings") for name in train.inputs) == SOCKETS_OF_TRAIN
    assert train.inputs["steps"].default == "`4000`"


def test_there_is_no_page_without_a_node():
    assert {path.stem for path in PAGES.glob("*.md")} == {node.node_id for node in ALL}


@pytest.mark.parametrize("node", ALL, ids=lambda node: node.node_id)
def test_a_page_says_what_the_schema_says(node):
    text = (PAGES / f"{node.node_id}.md").read_text("utf-8")
    assert text.startswith(f"# {node.display_name}\n")
    found = {}
    for point in _points(text, "Inputs"):
        remarks = (point["remark"] or "").split(", ")
        without = next((one for one in (REQUIRED, OPTIONAL) if one in remarks), "")
        assert bool(without) != bool(point["default"]), point["name"]
        found[point["name"]] = Input(point["default"] or without, "advanced" in remarks)
    assert found == node.inputs
    assert [point["name"] for point in _points(text, "Outputs")] == node.outputs
    assert not re.search(r"^\|", text, re.MULTILINE), "the help panel cuts tables"
    assert "\n## Tips\n" in text and "\n## Errors\n" in text


def test_the_readme_names_every_node():
    readme = (ROOT / "README.md").read_text("utf-8")
    assert [n.display_name for n in ALL if f"**{n.display_name}**" not in readme] == []


def test_the_readme_names_every_part_of_the_golden_numbers():
    row = next(
        line
        for line in (ROOT / "README.md").read_text("utf-8").splitlines()
        if "quickstart.py golden" in line
    )
    listed = row.partition("`--part` selects from")[2].partition(";")[0]
    assert set(re.findall("`([a-z_]+)`", listed)) == set(headless.PARTS)


def test_files_that_the_texts_link_to_exist():
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8"))
        assert [link for link in links if not (ROOT / link).exists()] == []


SPELLINGS = {"optimis": "optimiz", "regularis": "regulariz", "grey": "gray", "colour": "color"}
"""British beginnings of words, and the American ones that a search for the node must find as well."""


def _searched(path: Path) -> str:
    """What the node search looks through: the display name and the aliases."""
    found = [
        node.value
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.keyword) and node.arg in ("display_name", "search_aliases")
    ]
    return " ".join(ast.unparse(value) for value in found).lower()


@pytest.mark.parametrize("path", sorted(NODES.glob("*.py")), ids=lambda path: path.stem)
def test_the_search_finds_both_spellings(path):
    text = _searched(path)
    assert [
        american
        for british, american in SPELLINGS.items()
        if british in text and american not in text
    ] == []


def test_the_nodes_that_say_something_are_those_with_a_place_for_it(root):
    """js/lines.js gives a place to each node that tells a text, but Train, which has a panel."""
    code = (root / "js" / "lines.js").read_text("utf-8")
    listed = set(re.findall(r'"(\w+)"', code.split("new Set(", 1)[1].split(".map(", 1)[0]))
    saying = set()
    for path in (root / "nodes").glob("*.py"):
        text = path.read_text("utf-8")
        if '"text": [' in text:
            saying |= set(re.findall(r'return node\(\s*"(\w+)"', text))
    assert saying and listed == saying
