"""Tidy Dataset: where its undo files lie, and what is known of the files under their new names."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from ....trainer.dataset.dataset import Dataset
from ....trainer.files.digests import digest, file_digest
from ....trainer.renaming.plan import Naming
from ....trainer.renaming.tidy import Mode, tidy
from ..allowed_folders import check_allowed
from ..cache_folder import file_index
from ..folders import renames_root

_NODE = "Tidy Dataset"


def naming_problem(prefix: str | None, start: int | None, digits: int | None) -> str:
    """The sentence that says why names will not do, or ""; None comes from a linked input."""
    try:
        if prefix is not None and start is not None and digits is not None:
            Naming(prefix, start, digits)
    except ValueError as problem:
        return str(problem)
    return ""


def renaming_state() -> str:
    """Changes with every renaming and undo: what the node once said of the same inputs no longer holds."""
    found = []
    for path in sorted(renames_root().glob("*.json")):
        with suppress(OSError):  # just removed
            found.append([path.name, file_digest(path)])
    return digest(found)


def tidy_dataset(dataset: Dataset, naming: Naming, mode: Mode) -> tuple[Dataset, str]:
    """Rename, tell or undo, in folders that the user allowed; no image is read again because of its name.

    Raises:
        ValueError: as `tidy` says, or a folder is not allowed: nothing is renamed.
    """

    def check(folders: Collection[Path]) -> None:
        check_allowed(folders, _NODE)

    tidied, report = tidy(dataset, naming, mode, renames_root(), check)
    names = {}
    for (_, old), (_, new) in zip(dataset.samples(), tidied.samples(), strict=True):
        names[old.path] = new.path
        if old.mask is not None and new.mask is not None:
            names[old.mask] = new.mask
    with file_index() as index:
        index.move(names)
    return tidied, report
