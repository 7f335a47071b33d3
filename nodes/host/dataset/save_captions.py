"""Save Captions: where it may write, and where its backups lie."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ....trainer.dataset.caption_files import write_captions
from ....trainer.dataset.dataset import Dataset
from ..allowed_folders import check_allowed
from ..folders import backups_root

_NODE = "Save Captions"


def save_captions(dataset: Dataset, who: str = _NODE, page: str | None = None) -> str:
    """Write the captions that changed, in folders that the user allowed; a report.

    ``who`` asks: the node, or the page of this id.

    Raises:
        ValueError: as `write_captions` says, or a folder is not allowed: nothing is written.
    """

    def check(folders: Collection[Path]) -> None:
        check_allowed(folders, who, page=page)

    return write_captions(dataset, backups_root(), check).text()
