"""A file that changed after it was loaded is noticed before it is used."""

from __future__ import annotations

from pathlib import Path

from ..files.digests import bytes_digest, file_digest
from ..files.index import FileStamp
from .dataset import Dataset
from .images import explain

_LISTED = 5


def check_unchanged(dataset: Dataset) -> None:
    """Compare each picture's stat with its sample; where they differ, its contents decide.

    For whoever opens the pictures after they were read and remembers what it found by digest.

    Raises:
        ValueError: pictures changed or vanished; names them.
    """
    changed = []
    for _, sample in dataset.samples():
        try:
            stat = sample.path.stat()
            stamp = FileStamp(stat.st_size, stat.st_mtime_ns)
            if stamp != sample.stamp and file_digest(sample.path) != sample.digest:
                changed.append(f"{sample.path} changed")
        except OSError as error:
            changed.append(f"{sample.path}: {explain(error)}")
    refuse_changed(changed, CHANGED)


def read_unchanged(path: Path, known: str | None, *, named: bool = True) -> bytes:
    """The bytes of an image or mask, those that the dataset knows by the digest ``known``.

    Raises:
        ValueError: it cannot be read, or has changed; the sentence says its path, unless not ``named``.
    """
    try:
        data = path.read_bytes()
    except (OSError, MemoryError) as error:
        reason = explain(error)
        raise ValueError(f"Cannot read the image {path}: {reason}" if named else reason) from error
    if bytes_digest(data) != known:
        raise ValueError(f"{path if named else 'it'} changed {CHANGED}")
    return data


def refuse_changed(findings: list[str], advice: str) -> None:
    if findings:
        more = f" (and {len(findings) - _LISTED} more)" if len(findings) > _LISTED else ""
        raise ValueError("; ".join(findings[:_LISTED]) + f"{more} {advice}")


CHANGED = "since Load Dataset read it; queue again."
"""The end of the sentence about a picture that is not what the dataset says."""
