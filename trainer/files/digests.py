"""Content digests: short, stable names for values and for files. Owns the one hash that the caches use."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

Part: TypeAlias = str | int | float | Sequence["Part"] | None

_ENCODER = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))  # making one takes a while
_BYTES = 16
_CHUNK = 1 << 20


def digest(*parts: Part) -> str:
    """Name a value: 32 hex digits that depend on contents, types, order and nesting of ``parts``.

    Raises:
        TypeError: a part is neither text, number, None nor a (nested) tuple or list of them.
    """
    return bytes_digest(_ENCODER.encode(parts).encode("ascii"))


def bytes_digest(*parts: bytes | memoryview) -> str:
    """Name bytes that are in memory, such as the contents of a file, parts put together: 32 hex digits."""
    hasher = hashlib.blake2b(digest_size=_BYTES)
    for part in parts:
        hasher.update(part)
    return hasher.hexdigest()


def file_digest(path: Path) -> str:
    """Name the contents of a file: 32 hex digits, equal to ``bytes_digest`` of its bytes.

    Raises:
        OSError: the file cannot be read.
    """
    hasher = hashlib.blake2b(digest_size=_BYTES)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()
