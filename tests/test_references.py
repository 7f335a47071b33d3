"""Every reference leads somewhere: to a page and its heading, a source file, a folder, a script and its options.

References have one form: a path from the repository's root, for a heading of a page
`docs/kohya.md, "Captions"`.
"""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
FOLDERS = (*PACKAGES, "bench", "tests", "js", "docs")
_ANY = "|".join((*FOLDERS, "example_workflows"))

PAGE = re.compile(r'(?<![\w/])((?:js/)?docs/\w+\.md)(?:`?,[\s#]+"([^"]+)")?')
FILE = re.compile(rf"(?<![\w./<-])((?:{_ANY})/[\w./-]*\w\.(?:py|js|md|json|jpg))\b")
FOLDER = re.compile(rf"`((?:{_ANY})(?:/\w+)*/?)`")
COMMAND = re.compile(r"python3? (bench/[\w./]+)([^`\n]*)")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
MODULE = re.compile(r"\bsee (\w+(?:\.\w+)*)\)")


def texts(*suffixes):
    """Every file of the pack itself with one of these endings."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    return sorted(path for path in (*found, *ROOT.glob("*.*")) if path.suffix in suffixes)


@functools.cache
def prose(path):
    """What a file says to readers: a Python file's comments and docstrings, all of any other."""
    text = path.read_text("utf-8")
    if path.suffix != ".py":
        return text
    return "\n\n".join(re.findall(r'""".*?"""|#[^\n]*', text, re.S))


@functools.cache
def headings(page):
    """The headings of a Markdown page."""
    return re.findall(r"^#+ (.+)$", (ROOT / page).read_text("utf-8"), re.M)


def anchor(heading):
    """A heading as the end of a link."""
    return re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")


def broken_pages(text):
    """References to pages or headings that are not there, and names of pages without their folder."""
    found = []
    for page, heading in PAGE.findall(text):
        title = re.sub(r"[\s#]+", " ", heading)
        if not (ROOT / page).is_file():
            found.append(page)
        elif title and title not in headings(page):
            found.append(f'{page}, "{title}"')
    names = "|".join(path.stem for path in (ROOT / "docs").glob("*.md"))
    return found + re.findall(rf"(?<![\w/])(?:{names})\.md|design decision \d+", text)


def broken_paths(text):
    """Files and folders that are named and are not there."""
    files = [name for name in FILE.findall(text) if not (ROOT / name).is_file()]
    return files + [name for name in FOLDER.findall(text) if not (ROOT / name).exists()]


def tree():
    """The paths of the tree in CONTRIBUTING.md, and the words behind each."""
    block = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("## Tree", 1)[1].split("```")[1]
    found, above = {}, []
    for space, name, words in re.findall(r"^( *)([\w./]+)  +(\S.*)$", block, re.M):
        if len(space) > 6:  # words that go on
            continue
        above = [*above[: len(space) // 2], name]
        found["".join(above)] = words
    return found


def broken_commands(text):
    """Benchmarks that are named and are not there, or are without an option that they are given."""
    found = []
    for name, rest in COMMAND.findall(text):
        script = ROOT / name.rstrip(".")
        script = script / "__main__.py" if script.is_dir() else script
        known = script.read_text("utf-8") if script.is_file() else ""
        options = re.findall(r"(?<![\w-])--[\w-]+", rest)
        found += [name] if not known else [o for o in options if f'"{o}"' not in known]
    return found


def broken_links(path):
    """Links of a Markdown page that lead to no file or heading."""
    found = []
    for target, title in LINK.findall(path.read_text("utf-8")):
        page = (path.parent / target) if target else path
        if not page.exists() or (title and title not in map(anchor, headings(page))):
            found.append(f"{target}#{title}")
    return found


def defined(path):
    """The names that a Python file defines or imports."""
    tree = ast.parse(path.read_text("utf-8"))
    names = {getattr(node, "name", getattr(node, "id", "")) for node in ast.walk(tree)}
    return names | {getattr(node, "arg", "") or "" for node in ast.walk(tree)}


def offences(paths, broken):
    """`file: reference` for everything that `broken` finds in these files."""
    return [f"{path.relative_to(ROOT)}: {name}" for path in paths for name in broken(path)]


def test_references_lead_somewhere():
    paths = [path for path in texts(".py", ".js", ".md") if path != Path(__file__).resolve()]
    assert len(paths) > 400
    for broken in (broken_pages, broken_paths, broken_commands):
        assert offences(paths, lambda path, broken=broken: broken(prose(path))) == []


def test_links_lead_somewhere():
    assert offences(texts(".md"), broken_links) == []


def test_another_module_is_named_by_its_path():
    """A bare name, `(see ...)`, must be a class, or something in the same file."""
    everything = "".join(path.read_text("utf-8") for path in texts(".py"))
    classes = set(re.findall(r"^class (\w+)", everything, re.M))

    def broken(path):
        names = {name.split(".")[0] for name in MODULE.findall(prose(path))} - classes
        return sorted(names - defined(path)) if names else []

    assert offences(texts(".py"), broken) == []


def test_the_tree_is_the_one_on_disk():
    named = tree()
    assert [name for name in named if not (ROOT / name).exists()] == []
    packages = {
        f"{path.parent.relative_to(ROOT)}/"
        for folder in ("*", "trainer/*", "nodes/host/*", "tagger/*", "bench/*")
        for path in ROOT.glob(f"{folder}/__init__.py")
    }
    assert len(packages) > 25
    assert packages - named.keys() == set()


@pytest.mark.parametrize("page", ["docs/design.md", "docs/kohya.md"])
def test_docstrings_point_to_the_page(page):
    found = [PAGE.findall(prose(path)) for path in texts(".py") if "tests" not in path.parts]
    pointed = [title for titles in found for name, title in titles if name == page and title]
    assert len(pointed) >= 5


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ('(docs/kohya.md, "Captions")', []),
        ('docs/kohya.md, "Text\n    encoding"', []),
        ('# docs/kohya.md, "Text\n# encoding"', []),
        ('`docs/kohya.md`, "Nothing"', ['docs/kohya.md, "Nothing"']),
        ("docs/nothing.md", ["docs/nothing.md"]),
        ("js/docs/LoraLoopNothing.md", ["js/docs/LoraLoopNothing.md"]),
        ("(kohya.md section 3)", ["kohya.md"]),
        ("(design decision 9)", ["design decision 9"]),
    ],
)
def test_a_reference_to_no_page_is_seen(text, broken):
    assert broken_pages(text) == broken


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("(see trainer/rng.py)", []),
        ("`trainer/network/adapters/` and `tests/golden`", []),
        ("(see trainer/lora.py).", ["trainer/lora.py"]),
        ("`trainer/adapters/`", ["trainer/adapters/"]),
        ("`~/ComfyUI/custom_nodes/trainer/nothing.py`", []),
    ],
)
def test_a_reference_to_no_file_is_seen(text, broken):
    assert broken_paths(text) == broken


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("`python bench/step.py [--kohya CLONE] --rounds 0`", []),
        ("python bench/gpu speed --device cpu --small", []),
        ("python bench/nothing.py --rounds 3", ["bench/nothing.py"]),
        ("python bench/step.py --nothing 3", ["--nothing"]),
    ],
)
def test_a_command_that_does_not_exist_is_seen(text, broken):
    assert broken_commands(text) == broken
