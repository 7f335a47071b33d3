"""House rules that are kept: sizes of modules, functions and packages, names of nodes."""

import ast
import re

import pytest

from pack.tests.test_architecture import ROOT, sources

LIMIT = 300
LONGEST_FUNCTION = 50
EXECUTE_LIMIT = 10
MOST_FILES = 22
ONE_FILE_A_NODE = "nodes"
"""The one folder that may hold more: it is as long as the list of nodes."""


def test_a_package_says_what_lives_there_and_is_no_heap():
    for folder in {path.parent for path in sources()} - {ROOT}:
        files = [path for path in folder.glob("*.py") if path.stem != "__init__"]
        assert folder.name == ONE_FILE_A_NODE or len(files) <= MOST_FILES, folder
        if folder.name != "bench":  # scripts, not a package
            assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8")))


def body_lines(function):
    """Source lines of a function without its signature and docstring."""
    first = function.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    body = function.body[1:] if is_docstring else function.body
    return function.end_lineno - body[0].lineno + 1 if body else 0


def test_functions_are_short():
    """Except for schemas, which are tables of widgets."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {body_lines(node)} lines"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name != "define_schema"
        and body_lines(node) > LONGEST_FUNCTION
    ]
    assert found == []


def test_a_node_is_a_file_named_like_its_help_page():
    pages = {path.stem for path in (ROOT / "js" / "docs").glob("*.md")}
    named = {}
    for path in (ROOT / "nodes").glob("*.py"):
        for found in re.findall(
            r'^ {8}return node\(\n {12}"(\w+)",$', path.read_text("utf-8"), re.M
        ):
            named[f"LoraLoop{found}"] = path.stem
    assert named.keys() == pages
    for page, stem in named.items():
        words = re.findall(r"[A-Z][a-z]*", page.removeprefix("LoraLoop"))
        assert stem == "_".join(words).lower()


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_small_and_says_what_it_owns(path):
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= LIMIT
    assert ast.get_docstring(ast.parse(text))
    assert path.stem not in ("utils", "util", "common", "helpers", "helper", "misc")


def executes():
    """Every node's `execute`, by the name of its class."""
    return {
        node.name: function
        for path in sorted((ROOT / "nodes").glob("*.py"))
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef)
        for function in node.body
        if isinstance(function, ast.FunctionDef) and function.name == "execute"
    }


@pytest.mark.parametrize("function", executes().values(), ids=executes())
def test_execute_is_short(function):
    """A node unpacks, calls and wraps: more than that belongs elsewhere."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    assert body[-1].end_lineno - body[0].lineno + 1 <= EXECUTE_LIMIT


def test_every_node_has_an_execute():
    assert len(executes()) == sum(
        path.read_text("utf-8").count("(Node):") for path in (ROOT / "nodes").glob("*.py")
    )
