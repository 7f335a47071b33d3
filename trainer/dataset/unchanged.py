"""A file that changed after it was loaded is noticed before it is used."""

from __future__ import annotations

from pathlib import Path

from ...base.gc_pause import collection_paused
from ...base.image_file import explain, unreadable
from ...base.shortened import in_sentence
from ..files.digests import bytes_digest, file_digest
from ..files.index import FileStamp
from .dataset import Dataset

CHANGED = "since Load Dataset read it; queue again."
"""The end of the sentence about an image that is not what the dataset says."""


@collection_paused()
def check_unchanged(dataset: Dataset) -> None:
    """Compare each image's stat with its sample; where they differ, its contents decide.

    For who opens the images after they were read and remembers what it found by digest.

    Raises:
        ValueError: images changed or vanished; names them.
    """
    changed = []
    for _, sample in dataset.samples():
        try:
            stamp = FileStamp.of(sample.path.stat())
            if stamp != sample.stamp and file_digest(sample.path) != sample.digest:
                changed.append(f"{sample.path} changed")
        except OSError as error:
            changed.append(f"{sample.path}: {explain(error)}")
    if changed:
        raise ValueError(f"{in_sentence(changed)} {CHANGED}")


def read_unchanged(path: Path, digest: str | None, *, named: bool = True) -> bytes:
    """The bytes of a file, those that the dataset knows by their digest.

    Raises:
        ValueError: the file changed or cannot be read. With ``named`` false the reason alone, for a list
            that has the path already.
    """
    try:
        data = path.read_bytes()
    except (OSError, MemoryError) as error:
        raise (unreadable(path, error) if named else ValueError(explain(error))) from error
    check_bytes(data, digest, str(path) if named else "it")
    return data


def check_bytes(data: bytes, digest: str | None, name: str) -> None:
    """ValueError that ``name`` changed, if these bytes have another digest."""
    if bytes_digest(data) != digest:
        raise ValueError(f"{name} changed {CHANGED}")
