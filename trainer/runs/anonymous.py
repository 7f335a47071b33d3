"""Texts of a run without names of its user: of folders, files, people, machines, and no caption.

What the pack itself says stays, because its words are known: they are those of its own source. Any other
word might be a name and is replaced.
"""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from ..config.train import TrainConfig

NAME, FILE, PATH, TEXT = "<name>", "<file>", "<path>", "<text>"
"""What stands in place of what was taken out."""

_SEPARATOR = r"(?:[\\/]|%2f|%5c)"
_PATH = re.compile(
    rf"(?<!\w)(?:\.{{1,2}}|\w+(?::|%3a)|~\w*)?{_SEPARATOR}"
    rf"(?:[^\n]*{_SEPARATOR})?"  # whatever lies between it and the last separator of the line
    r'(?:[^"\n\r\t:*?<>|]|:(?!\s|$))*',
    re.IGNORECASE,
)
"""From where a path begins to where it must end: blanks, quotes and colons belong to it."""
_KINDS = frozenset(
    [
        "png",
        "jpg",
        "jpeg",
        "jpe",
        "jfif",
        "webp",
        "bmp",
        "avif",
        "gif",
        "heic",
        "heif",
        "jxl",
        "psd",
        "svg",
        "tga",
        "tif",
        "tiff",
        "txt",
        "caption",
        "json",
        "jsonl",
        "toml",
        "yaml",
        "yml",
        "csv",
        "npz",
        "npy",
        "safetensors",
        "ckpt",
        "pt",
        "pth",
        "bin",
        "gguf",
        "onnx",
        "zip",
        "log",
        "md",
    ]
)
"""Endings of files that are somebody's."""
_TOKEN = re.compile(r"\S+")
_AROUND = "()[]{}<>,;:!?'\"`"
_QUOTED = re.compile(r"""(?<!\w)(?:'[^'\n]*'|"[^"\n]*"|`[^`\n]*`)(?!\w)""")
_WORD = re.compile(r"%[0-9a-f]{2}|\\u[0-9a-f]{4}|[^\W\d_]+", re.IGNORECASE)
_DIGEST = re.compile(r"(?<![^\W_])(?:0x)?[0-9a-f]{8,}(?![^\W_])")
_PLAIN = re.compile(
    r"[\w.]{1,40}=[-+\d.,()\[\]eE ]*(?:True|False|None)?|[-+\d.,:;() eE%]*|[0-9a-f]{16,64}"
)
"""A setting that is numbers: arguments, rules, digests."""
_SHORTEST = 3  # letters of a name that is looked for as such
_LIBRARIES = """INFO WARNING ERROR Traceback most recent call last File line Error OutOfMemoryError
    RuntimeError Tried allocate capacity process PyTorch reserved unallocated allocated free size tensor
    tensors shape shapes dtype expected device devices mat1 mat2 cannot multiplied contiguous stride cuda
    cpu mps xpu inductor kernel launch assertion invalid argument illegal access encountered inplace
    operation autograd backward forward module modules found got but both same have use set environment
    variable avoid fragmentation documentation see management large try setting errno"""
"""Words of errors that libraries raise."""


def without_names(text: str, names: Iterable[str] = ()) -> str:
    """The text with each path, file, quoted text and word that is not the pack's own replaced.

    ``names`` are looked for first, as whole words in any case, though the pack may know the word. Names
    of the pack's Python files, as in tracebacks, stay. Takes time in proportion to the length.
    """
    home = str(Path.home())
    text = text.replace(home, "~") if len(home) > 1 else text
    text = text.replace("\\\\", "\\").replace("\\/", "/")  # as JSON writes them
    text = _PATH.sub(_hidden, without_given(text, names))
    lines = (_without_files(line) for line in text.split("\n"))
    return _without_words(_QUOTED.sub(_unquoted, "\n".join(lines)))


def without_given(text: str, names: Iterable[str]) -> str:
    """The text with these names replaced, as whole words in any case."""
    known = sorted({name for name in names if len(name) >= _SHORTEST}, key=len, reverse=True)
    if not known:
        return text
    alternatives = "|".join(map(re.escape, known))
    return re.sub(rf"(?<![^\W_])(?:{alternatives})(?![^\W_])", NAME, text, flags=re.IGNORECASE)


def without_values(value: Any, names: Iterable[str] = ()) -> Any:
    """The same for what JSON holds: a text that is no setting of ours goes as a whole."""
    if isinstance(value, dict):
        return {
            without_names(key, names): without_values(each, names) for key, each in value.items()
        }
    if isinstance(value, list):
        return [without_values(each, names) for each in value]
    if not isinstance(value, str) or value in _choices() or _PLAIN.fullmatch(value):
        return value
    return TEXT


def own_names() -> set[str]:
    """The names of the user and of the machine."""
    found = {Path.home().name, socket.gethostname(), socket.gethostname().partition(".")[0]}
    with suppress(KeyError, OSError, ImportError):  # no such user, or no list of users
        found.add(getpass.getuser())
    return found


def _hidden(path: re.Match[str]) -> str:
    name = re.split(_SEPARATOR, path[0], flags=re.IGNORECASE)[-1]
    return f"{PATH}/{name}" if name.endswith(".py") else PATH


def _without_files(line: str) -> str:
    """A line with the names of files replaced, and the capitalised or unknown words before each."""
    pieces: list[str] = []
    tokens = list(_TOKEN.finditer(line))
    last = 0
    for number, token in enumerate(tokens):
        core = token[0].strip(_AROUND)
        if core.rpartition(".")[2].lower() not in _KINDS or "." not in core:
            continue
        first = number
        while first and tokens[first - 1].start() >= last and _may_be_of_name(tokens[first - 1][0]):
            first -= 1
        start = (
            tokens[first].start() + len(tokens[first][0]) - len(tokens[first][0].lstrip(_AROUND))
        )
        end = token.start() + token[0].rindex(core) + len(core)
        pieces += [line[last:start], FILE]
        last = end
    return "".join([*pieces, line[last:]])


def _may_be_of_name(token: str) -> bool:
    """Whether a word before the name of a file may belong to it."""
    if token[-1] in ":,;)]}" or any(character.isdigit() for character in token):
        return False
    return token[:1].isupper() or not _are_known(token)


def _unquoted(quoted: re.Match[str]) -> str:
    inside = quoted[0][1:-1]
    is_kept = inside in _choices() or (" " not in inside and _are_known(inside))
    return quoted[0] if is_kept else f"{quoted[0][0]}{TEXT}{quoted[0][0]}"


def _without_words(text: str) -> str:
    """The text with unknown words replaced; digests stay."""
    parts = []
    last = 0
    for digest in _DIGEST.finditer(text):
        parts += [_WORD.sub(_known_word, text[last : digest.start()]), digest[0]]
        last = digest.end()
    return "".join([*parts, _WORD.sub(_known_word, text[last:])])


def _known_word(word: re.Match[str]) -> str:
    return word[0] if _is_known(word[0]) else NAME


def _are_known(text: str) -> bool:
    return all(_is_known(word) for word in _WORD.findall(text))


def _is_known(word: str) -> bool:
    return (len(word) == 1 and word.isascii()) or word.lower() in _vocabulary()


@cache
def _vocabulary() -> frozenset[str]:
    """All words of the source of the pack's trainer and nodes, in lower case."""
    root = Path(__file__).resolve().parents[2]
    files = (
        path for folder in ("base", "trainer", "nodes") for path in (root / folder).rglob("*.py")
    )
    texts = [_LIBRARIES, *(path.read_text("utf-8") for path in files)]
    return frozenset(word.lower() for text in texts for word in re.findall(r"[^\W\d_]+", text))


@cache
def _choices() -> frozenset[str]:
    """Every value of a setting that is one of several."""
    return frozenset(_options(TrainConfig))


def _options(hint: Any) -> Iterable[str]:
    """The texts among the options of a type and of the types inside it."""
    if isinstance(hint, str):
        yield hint
    inner = (
        get_args(hint)
        if get_origin(hint)
        else get_type_hints(hint).values()
        if _is_config(hint)
        else ()
    )
    for each in inner:
        yield from _options(each)


def _is_config(hint: Any) -> bool:
    return isinstance(hint, type) and hint.__module__.startswith(
        TrainConfig.__module__.rpartition(".")[0]
    )
