"""The two hashes by which WebUIs and kohya name a checkpoint file."""

import hashlib
from pathlib import Path

_CHUNK = 1 << 20
_SHORT_FROM, _SHORT_BYTES = 1 << 20, 1 << 16


def sha256(path: Path) -> str:
    """kohya's ss_new_sd_model_hash: of the whole file, 64 hex digits; several seconds for an SDXL model."""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


def short_hash(path: Path) -> str:
    """kohya's ss_sd_model_hash: of 64 KiB from 1 MiB on, 8 hex digits."""
    with path.open("rb") as file:
        file.seek(_SHORT_FROM)
        return hashlib.sha256(file.read(_SHORT_BYTES)).hexdigest()[:8]
