"""What nodes found out about images when they ran, for the page to show: flags, and the buckets that they fell into."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from .....trainer.dataset.dataset import Dataset, Sample
from .....trainer.sdxl.buckets import BucketConfig
from .seen import tell

MOST_IMAGES = 200_000
MOST_FOLDERS = 1000
"""So many are remembered, those of the last runs."""


class Image(Protocol):
    """An image file that was looked at, and the digest of its contents then; a Sample, for one."""

    @property
    def path(self) -> Path:
        """Where it lies."""
        ...

    @property
    def digest(self) -> str:
        """Of its contents."""
        ...


class Findings:
    """Flags by image, each with a sentence that says why, and the last buckets of each folder.

    A flag is there where a check looked at the very contents; "" says that it had nothing to object to.
    """

    def __init__(self) -> None:
        self._flags: dict[Path, tuple[str, dict[str, str]]] = {}
        self._buckets: dict[Path, BucketConfig] = {}
        self._lock = threading.Lock()

    def add(
        self,
        samples: Iterable[Image],
        flags: Collection[str],
        found: Mapping[Path, Mapping[str, str]],
    ) -> None:
        """Keep what a node found that looked for ``flags``: by image path the sentence for each that it raised."""
        with self._lock:
            for sample in samples:
                digest, known = self._flags.pop(sample.path, (sample.digest, {}))
                known = known if digest == sample.digest else {}
                said = found.get(sample.path, {})
                told = {flag: said.get(flag, "") for flag in flags}
                self._flags[sample.path] = (sample.digest, known | told)
            _keep(self._flags, MOST_IMAGES)
        tell({})

    def of(self, sample: Sample) -> Mapping[str, str]:
        """What was found out about an image; nothing about flags that nobody looked for."""
        digest, known = self._flags.get(sample.path, ("", {}))
        return known if digest == sample.digest else {}

    def add_buckets(self, dataset: Dataset, buckets: BucketConfig) -> None:
        """Keep how a dataset was cached."""
        with self._lock:
            for subset in dataset.subsets:
                self._buckets.pop(subset.root, None)
                self._buckets[subset.root] = subset.buckets or buckets
            _keep(self._buckets, MOST_FOLDERS)
        tell({})

    def buckets(self, folder: Path) -> BucketConfig | None:
        """How the images of a folder were cached last; None where they were not."""
        return self._buckets.get(folder)


def _keep(table: dict, most: int) -> None:
    for old in list(table)[: max(0, len(table) - most)]:
        del table[old]


FOUND = Findings()
