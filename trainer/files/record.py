"""JSON files that we wrote, read back: every part is checked, so that a damaged file is named and passed over."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from ...base.small_file import parse_json, read_small

log = logging.getLogger(__name__)

MOST_BYTES = 1 << 27
"""No file of ours is larger: the losses of a million steps are a fifth of it."""

_MOST = 1 << 63
_SHOWN = 40

T = TypeVar("T")


class Part:
    """A part of a JSON file, and where it stands. Asked for a type it gives its value.

    Every method raises ValueError saying what stands where, and what was expected, if it is of
    another type.
    """

    __slots__ = ("place", "value")

    def __init__(self, value: Any, place: str = "") -> None:
        self.value, self.place = value, place

    def text(self) -> str:
        return self.value if isinstance(self.value, str) else self._wrong("a text")

    def whole(self, least: int = 0, most: int = _MOST - 1) -> int:
        """A whole number within bounds, both included."""
        if type(self.value) is int and least <= self.value <= most:  # not a bool
            return self.value
        return self._wrong(
            f"a whole number from {least}" + ("" if most >= _MOST - 1 else f" to {most}")
        )

    def number(self) -> float:
        """A number, NaN and infinity included."""
        if (type(self.value) in (int, float) and abs(self.value) < _MOST) or type(
            self.value
        ) is float:
            return float(self.value)
        return self._wrong("a number")

    def flag(self) -> bool:
        return self.value if isinstance(self.value, bool) else self._wrong("true or false")

    def plain(self) -> Any:
        """A text, number, flag, null, or a list of them."""
        if isinstance(self.value, list):
            return [
                part.plain() if not isinstance(part.value, list) else part._wrong("a value")
                for part in self
            ]
        if self.value is None or isinstance(self.value, str | bool | float):
            return self.value
        return self.whole(-(1 << 62))

    def numbers(self) -> list[float]:
        """A list of numbers."""
        values = self._list()
        if all(type(value) is float for value in values):
            return values
        return [part.number() for part in self]

    def fields(self) -> dict[str, Part]:
        """What stands under each name."""
        if not isinstance(self.value, dict):
            return self._wrong("names with values")
        place = f"{self.place} " if self.place else ""
        return {name: Part(value, f"{place}{name}") for name, value in self.value.items()}

    def exactly(self, count: int) -> list[Part]:
        """The parts of a list of so many."""
        parts = list(self)
        return parts if len(parts) == count else self._wrong(f"a list of {count}")

    def __iter__(self) -> Iterator[Part]:
        """The parts of a list."""
        return iter([Part(value, f"{self.place}[{n}]") for n, value in enumerate(self._list())])

    def __getitem__(self, name: str) -> Part:
        """What stands under a name."""
        if isinstance(self.value, dict) and name in self.value:
            return Part(self.value[name], f"{self.place} {name}".strip())
        fields = self.fields()
        raise ValueError(
            f"{name} is missing" + (f" in {self.place}" if fields and self.place else "")
        )

    def get(self, name: str) -> Part | None:
        """What stands under a name; None where it is absent or null."""
        return None if self.fields().get(name) is None or self.value[name] is None else self[name]

    def _list(self) -> list[Any]:
        return self.value if isinstance(self.value, list) else self._wrong("a list")

    def _wrong(self, expected: str) -> Any:
        found = {type(None): "null", dict: "names with values", list: "a list"}
        shown = found.get(type(self.value)) or f"{self.value!r:.{_SHOWN}}"
        raise ValueError(f"{self.place or 'the file'} is {shown} where {expected} was expected")


def load_record(path: Path, parse: Callable[[Part], T]) -> T:
    """What ``parse`` makes of the JSON in a file, which raises ValueError for what is not as it should be.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged; names it and says in what.
    """
    try:
        data = read_small(path, MOST_BYTES)
        return parse(Part(parse_json(data.decode("utf-8"))))
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(2, "there is no such file", str(path)) from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is damaged: it is no text") from error
    except json.JSONDecodeError as error:
        why = (
            f"it is no JSON (line {error.lineno}: {error.msg})"
            if error.doc.strip()
            else "it is empty"
        )
        raise ValueError(f"{path} is damaged: {why}") from error
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def read_record(path: Path, parse: Callable[[Part], T]) -> T | None:
    """As `load_record`; None where the file is not there, and with a warning where it is damaged."""
    try:
        return load_record(path, parse)
    except FileNotFoundError:
        return None
    except ValueError as error:
        log.warning("LoRA Loop: %s", error)
        return None
