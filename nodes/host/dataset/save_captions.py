"""Save Captions: where it may write, and where its backups lie."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from ....trainer.dataset.caption_files import write_captions
from ....trainer.dataset.dataset import Dataset
from ..allowed_folders import check_allowed
from ..folders import backups_root

_NODE = "Save Captions"
EXAMPLE_TRIGGER = "my_trigger_word"
"""What stands in the example workflows until somebody types a trigger word."""


def save_captions(
    dataset: Dataset,
    who: str = _NODE,
    page: str | None = None,
    told: Callable[[int, int], None] | None = None,
) -> str:
    """Write the captions that changed, in folders that the user allowed; a report.

    ``who`` asks: the node, or the page of this id. ``told`` hears after each file how many are done, and of how many.

    Raises:
        ValueError: as `write_captions` says, a folder is not allowed, or the trigger word is still the
            example's: nothing is written.
    """
    if EXAMPLE_TRIGGER in dataset.trigger:
        raise ValueError(
            f"The trigger word is still the example's, {EXAMPLE_TRIGGER}, and would be written into your "
            "captions: type one of your own at trigger of Filter Tags. Nothing was written."
        )

    def check(folders: Collection[Path]) -> None:
        check_allowed(folders, who, page=page)

    return write_captions(dataset, backups_root(), told=told, check=check).text()
