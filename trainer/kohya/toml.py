"""kohya's config files as text: toml, or kohya_ss' JSON, to the arguments of the command line and to a
dataset's tables."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...base.config import Problems
from ...base.shortened import remainder
from ...base.small_file import TEXT_BYTES, TooLargeError, parse_json, read_small
from ..dataset.caption_files import decode_text
from .arguments import HONOURED, Key
from .formats import is_json, other_tables, other_text
from .gui import gui_arguments, is_settings_file
from .unheard import NEEDS, NEWER, UNHEARD, meant, other_script
from .unused import IGNORED, REFUSED

KNOWN = frozenset({*HONOURED, *IGNORED, *REFUSED})
"""Every argument that a config may name."""


class MissingError(ValueError):
    """A file or folder that a config names is not there."""


Locate = Callable[[str, str], Path]
"""A path that a config names, and what it is, to the file or folder.

Raises MissingError where there is none, ValueError where it may not be.
"""

DATASET_TABLES = ("general", "datasets")

_DEEPEST, _LONGEST_NAME, _MOST_DOTS = 20, 80, 500
_MOST_UNKNOWN = 20  # arguments that are named with what they might have been
_MOST_COMPARED = 200  # with all arguments of kohya's, which takes a millisecond each
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)%")


class KohyaFile(NamedTuple):
    """What stands in a config: arguments by name, and the tables of a dataset (empty: none)."""

    arguments: dict[str, Any]
    dataset: dict[str, Any]
    unused: tuple[str, ...] = ()
    """What is set in a settings file of kohya_ss and no argument stands for."""
    has_prompts: bool = False
    """sample_prompts is their text, not the path of a file."""


def read_text(path: Path) -> str:
    """The text of a config file. ValueError when it is missing, no file, no text, or larger than a config."""
    try:
        if path.exists() and not path.is_file():  # reading a device might never end
            raise ValueError(f"{path} is no file.")
        return decode_text(read_small(path), path)
    except TooLargeError as error:
        raise ValueError(f"{path} is too large for a config file.") from error
    except OSError as error:
        kind = MissingError if isinstance(error, FileNotFoundError) else ValueError
        raise kind(f"The config file {path} cannot be read: {error.strerror or error}.") from error


def parse(text: str, name: str) -> KohyaFile:
    """The contents of a config, sections put together as kohya does.

    Raises:
        ValueError: it is no toml, or of another program, or an argument stands in two sections with different values.
    """
    if is_json(text) and is_settings_file(data := _json(text)):
        found, unused = gui_arguments(data, name)
        return KohyaFile(found, {}, unused, has_prompts=True)
    data = toml_tables(text, name)
    if other := other_tables(data):
        raise ValueError(f"{name} is {other}.")
    dataset: dict[str, Any] = {}
    if isinstance(data.get("datasets"), list):
        dataset = {table: data.pop(table) for table in DATASET_TABLES if table in data}
    arguments: dict[str, Any] = {}
    for key, value in data.items():
        for inner, one in value.items() if isinstance(value, dict) else ((key, value),):
            if arguments.setdefault(inner, one) != one:
                raise ValueError(f"{name}: {inner} stands there twice with different values.")
    return KohyaFile(arguments, dataset)


def _json(text: str) -> Any:
    """The value of a JSON text; None where it is none."""
    try:
        return parse_json(text.lstrip("\ufeff")) if len(text) <= TEXT_BYTES else None
    except ValueError:
        return None


def toml_tables(text: str, name: str) -> dict[str, Any]:
    """The tables of a toml text. ValueError when it is none, or nothing here can read it."""
    try:
        toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ImportError as error:
        raise ValueError(
            "Reading a config.toml under Python 3.10 needs the package tomli: pip install tomli."
        ) from error
    if len(text) > TEXT_BYTES:
        raise ValueError(f"{name} has {len(text)} characters, which is too many for a config.")
    try:
        if any(line.count(".") > _MOST_DOTS for line in text.splitlines()):
            raise RecursionError  # the parser's time grows with the square of a key's parts
        tables = toml.loads(text)
        if _depth(tables) > _DEEPEST:
            raise RecursionError
        return tables
    except RecursionError as error:
        raise ValueError(f"{name} is nested too deep for a config.") from error
    except toml.TOMLDecodeError as error:
        if other := other_text(text):
            raise ValueError(f"{name} is {other}.") from error
        hint = " In paths write / or \\\\ instead of \\." if "\\" in text else ""
        raise ValueError(f"{name} is not valid toml: {error}.{hint}") from error


def _depth(tables: dict[str, Any]) -> int:
    """How deep tables and lists lie in each other; no further than one level too deep."""
    level: list[Any] = [tables]
    depth = 0
    while level and depth <= _DEEPEST:
        depth += 1
        lists = (one.values() if isinstance(one, dict) else one for one in level)
        level = [inner for one in lists for inner in one if isinstance(inner, dict | list)]
    return depth


def checked(arguments: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Every honoured argument with its value, or kohya's default where it is absent.

    Raises:
        ValueError: lists everything that is unknown, of the wrong type, or refused.
    """
    problems = Problems()
    values = {argument: key.default for argument, key in HONOURED.items()}
    if other := other_script(arguments):
        problems.append(other)
    slips = _slips(arguments)
    problems += [unknown(argument, KNOWN) for argument in slips[:_MOST_UNKNOWN]]
    if rest := remainder(len(slips), _MOST_UNKNOWN, "more that are unknown"):
        problems.append(rest)
    for argument, value in arguments.items():
        if argument in HONOURED:
            try:
                values[argument] = typed(HONOURED[argument], value)
            except ValueError as error:
                problems.append(f"{argument} is {value!r}; {error}")
        elif refusal := REFUSED.get(argument):
            changes = value and value != refusal.default and not without_effect(argument, arguments)
            problems.need(not changes, f"{argument} = {value!r}: {refusal.advice}")
        elif argument in NEWER:
            problems.need(not value, f"{argument} = {value!r}: {NEWER[argument]}")
    problems.finish(name)
    return values


def _slips(arguments: Mapping[str, Any]) -> list[str]:
    """Names that kohya does not look for and that look like one of its arguments; of many the first."""
    strange = [name for name in arguments if name not in KNOWN | UNHEARD.keys() | NEWER.keys()]
    return [name for name in strange[:_MOST_COMPARED] if meant(name[:_LONGEST_NAME], KNOWN)]


def without_effect(argument: str, arguments: Mapping[str, Any]) -> bool:
    """Whether kohya does not look at an argument, because the one that it belongs to is empty or off."""
    return argument in NEEDS and not arguments.get(NEEDS[argument])


def unknown(argument: str, known: frozenset[str]) -> str:
    """The complaint about an argument that nobody knows, with those that look like it."""
    argument = argument if len(argument) <= _LONGEST_NAME else f"{argument[:_LONGEST_NAME]}…"
    near = meant(argument, known)
    advice = f"did you mean {' or '.join(near)}?" if near else "remove it"
    return f"{argument} is no argument of kohya's trainer for SDXL LoRAs; {advice}"


def typed(key: Key, value: Any) -> Any:
    """A value in the form that its row asks for. ValueError says what it should be."""
    read = _READ[key.kind](value)
    if read is None:
        raise ValueError(f"it must be a {key.kind}")
    if key.choices and read not in key.choices:
        raise ValueError(f"it must be one of {', '.join(str(c) for c in key.choices if c != '')}")
    return read


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _length(value: Any) -> float | None:
    percent = _LENGTH.fullmatch(value.strip()) if isinstance(value, str) else None
    return float(percent[1]) / 100 if percent else _number(value)


def _texts(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, str):
        return tuple(value.split())
    is_list = isinstance(value, list) and all(isinstance(one, str) for one in value)
    return tuple(value) if is_list else None


def _numbers(value: Any) -> tuple[float, ...] | None:
    numbers = [_number(one) for one in (value if isinstance(value, list) else [value])]
    return None if None in numbers else tuple(n for n in numbers if n is not None)


def _size(value: Any) -> tuple[int, int] | None:
    """`1024`, `"1024"`, `"1024,768"` or `[1024, 768]` as (width, height)."""
    sides = value.split(",") if isinstance(value, str) else value
    sides = sides if isinstance(sides, list) else [sides]
    try:
        whole = [int(side) if isinstance(side, str) else _whole(side) for side in sides]
    except ValueError:
        return None
    if len(whole) not in (1, 2) or None in whole:
        return None
    return whole[0], whole[-1]  # type: ignore[return-value]


_READ = {
    "switch": lambda value: value if isinstance(value, bool) else None,
    "whole number": _whole,
    "number": _number,
    "text": lambda value: value if isinstance(value, str) else None,
    "list of texts": _texts,
    "number or list": _numbers,
    "length": _length,
    "size": _size,
    "table": lambda value: value if isinstance(value, dict) else None,
}
