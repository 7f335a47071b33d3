"""Small files of text and JSON, read up to a size: what is larger or nested too deep is no such file."""

from __future__ import annotations

import errno
import json
import stat
from pathlib import Path
from typing import Any

TEXT_BYTES = 1 << 20
"""The most of a caption, a config or another text that somebody writes."""

TABLE_BYTES = 1 << 28
"""The most of a table or index that a program writes."""


class TooLargeError(ValueError):
    """A file is larger than one of its kind can be."""


def read_small(path: Path, most: int = TEXT_BYTES) -> bytes:
    """The bytes of a file.

    Raises:
        OSError: it cannot be read, or is a pipe or device, which might never end.
        TooLargeError: it is larger than ``most`` bytes; nothing beyond them was read.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "It is a pipe or a device and no file", str(path))
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise TooLargeError(
            f"{path.name} is larger than {most >> 20} MiB, which is too large for a file of its kind"
        )
    return data


def read_json(path: Path, most: int = TABLE_BYTES) -> Any:
    """The contents of a JSON file in UTF-8, with a byte order mark or without.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large, or no JSON.
    """
    return parse_json(read_small(path, most).decode("utf-8-sig"))


def parse_json(text: str) -> Any:
    """The value that a JSON text stands for. ValueError when it is none, or nested too deep to be read."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep for JSON of its kind") from error
