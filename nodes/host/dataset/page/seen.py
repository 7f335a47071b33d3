"""The datasets that a node of an executed graph has read: no other is shown to a page, or changed for it."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from .....trainer.dataset.changed_captions import missing_files
from .....trainer.dataset.choices import Choice, read_all, with_choices
from .....trainer.dataset.dataset import Dataset, Sample
from .....trainer.files.digests import digest
from ...progress import prompt_server

EVENT = "lora_loop.dataset"
"""Sent to every page: {"id": id} when a dataset was read, {"id", "saving": [done, count]} while captions of it are
written, {} when something was found out about images."""
SHOWN = "lora_loop_dataset"
"""Key of what a node shows, with the id of the dataset that it read: so that the page knows those of its graph."""
MOST = 16
"""So many datasets are remembered, the last read."""


class Shown(NamedTuple):
    """An image of a dataset, and the number of its subset."""

    subset: int
    sample: Sample


@dataclass(frozen=True)
class SeenDataset:
    """A dataset as it was read last, images that are left out included.

    ``read`` reads it again; ``read_at`` is in seconds since 1970; ``missing``: caption files that were not there.
    """

    name: str
    title: str
    read: Callable[[], Dataset]
    dataset: Dataset
    choices: Mapping[Path, Choice]
    missing: frozenset[Path]
    read_at: float

    @cached_property
    def images(self) -> dict[str, Shown]:
        """By a key that stays the same when the dataset is read again; each file once."""
        found: dict[str, Shown] = {}
        for number, subset in enumerate(self.dataset.subsets):
            for sample in subset.samples:
                found.setdefault(image_key(sample.path), Shown(number, sample))
        return found

    @cached_property
    def stamp(self) -> str:
        """Tells apart what pages were shown of it: captions, and what is left out or weighed."""
        shown = (
            f"{key} {one.sample.caption} {self.choices.get(one.sample.path)}"
            for key, one in self.images.items()
        )
        return digest(*shown)[:16]

    def obeyed(self) -> Dataset:
        """What is trained on. ValueError when no image is left."""
        return with_choices(self.dataset, self.choices)


def image_key(path: Path) -> str:
    """What the page calls an image: 16 hex digits that say nothing of the path."""
    return digest(str(path).encode("utf-8", "replace").decode())[:16]


class Seen:
    """The datasets of this process, by the name that says where they were read and how."""

    def __init__(self) -> None:
        self._known: dict[str, SeenDataset] = {}
        self._lock = threading.Lock()

    def read(self, name: str, title: str, read: Callable[[], Dataset]) -> SeenDataset:
        """Read a dataset, and remember it. ValueError as ``read`` and `read_choices` say."""
        dataset = read()
        found = SeenDataset(
            name, title, read, dataset, read_all(dataset), missing_files(dataset), time.time()
        )
        self.remember(found)
        tell({"id": name})
        return found

    def remember(self, found: SeenDataset) -> None:
        """Keep a dataset in the place of the one of its name; the oldest goes where there are too many."""
        with self._lock:
            self._known.pop(found.name, None)
            self._known[found.name] = found
            for old in list(self._known)[:-MOST]:
                del self._known[old]

    def find(self, name: str) -> SeenDataset | None:
        with self._lock:
            return self._known.get(name)

    def all(self) -> list[SeenDataset]:
        """The last read first."""
        with self._lock:
            return [*self._known.values()][::-1]


SEEN = Seen()


def with_saved(
    seen: SeenDataset, captions: Mapping[Path, str], choices: Mapping[Path, Choice]
) -> SeenDataset:
    """The dataset with captions that were written, by the path of the image, and what is decided now."""
    dataset = seen.dataset.with_captions(captions)
    return dataclasses.replace(
        seen, dataset=dataset, choices=choices, missing=missing_files(dataset)
    )


def tell(what: dict[str, Any]) -> None:
    """Let every page know; nothing where there is none."""
    server = prompt_server()
    if server is not None:
        server.send_sync(EVENT, what)
