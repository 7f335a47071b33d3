"""A checksum inside of a safetensors file, over all its bytes: no bit of it can change unseen."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

KEY = "lora_loop_checksum"
"""The metadata key of LoRA files in the folder of a run; the cache's entries call theirs `checksum`."""

BLANK = "0" * 32
"""What stands under the key while the digest is taken."""

_FOUND = re.compile(rb'"(?:lora_loop_)?checksum":"([0-9a-f]{32})"')
_CHUNK = 1 << 20


def sealed(data: bytes) -> bytes:
    """The file whose checksum is `BLANK`, with the checksum that it must have."""
    span = _span(data[: _header_end(data[:8], len(data))])
    found = hashlib.blake2b(data, digest_size=16).hexdigest().encode()
    return data[: span.start] + found + data[span.stop :]


def damage(data: bytes) -> str | None:
    """Why the bytes are not those that were sealed; None where they are."""
    try:
        span = _span(data[: _header_end(data[:8], len(data))])
    except ValueError as error:
        return str(error)
    view = memoryview(data)
    hasher = hashlib.blake2b(digest_size=16)
    for part in (view[: span.start], BLANK.encode(), view[span.stop :]):
        hasher.update(part)
    return _verdict(hasher.hexdigest(), data[span])


def file_damage(path: Path) -> str | None:
    """The same of a file, which is never in memory as a whole.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        begin = file.read(8)
        header = begin + file.read(_header_end(begin, size) - len(begin))
        try:
            span = _span(header)
        except ValueError as error:
            return str(error)
        hasher = hashlib.blake2b(digest_size=16)
        hasher.update(header[: span.start] + BLANK.encode() + header[span.stop :])
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)
    return _verdict(hasher.hexdigest(), header[span])


def _verdict(found: str, said: bytes) -> str | None:
    return None if found.encode() == said else "its checksum differs: a part of it has changed"


def _header_end(begin: bytes, size: int) -> int:
    """Where the header ends, in a file of ``size`` bytes that may be cut off."""
    return min(8 + int.from_bytes(begin, "little"), size)


def _span(header: bytes) -> slice:
    """Where the checksum stands in the first bytes of a file."""
    found = _FOUND.search(header, 8)
    if found is None:
        raise ValueError("it has no checksum")
    return slice(*found.span(1))
