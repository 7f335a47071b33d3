"""Files that nodes have made in this session: when some are deleted by hand, the next Queue makes them again.

ComfyUI keeps what a node gave and does not ask it again while its inputs are the same. So a node whose
result lives on disk says, in its `fingerprint_inputs`, how often such files went missing.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence

MOST = 16
"""The results of so many executions are looked after; those before them are forgotten."""


class Made:
    """What the nodes of one kind have made, by result."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, Sequence[str]] = OrderedDict()
        self._losses = 0

    def add(self, result: str, files: Iterable[str | os.PathLike[str]]) -> None:
        """These files are what a result of this name needs."""
        self._files[result] = tuple(os.fspath(file) for file in files)
        self._files.move_to_end(result)
        while len(self._files) > MOST:
            self._files.popitem(last=False)

    def losses(self) -> int:
        """How often files of a result were found missing; each time the result is made again."""
        gone = [
            result for result, files in self._files.items() if not all(map(os.path.exists, files))
        ]
        for result in gone:
            del self._files[result]
        self._losses += bool(gone)
        return self._losses


CACHED, SAVED_IMAGES, EXPORTED, PEFT_FOLDERS, CLASS_IMAGES = (Made() for _ in range(5))
"""Of Cache Latents, Dataset from Images, Export Dataset, Export to peft, and Make Class Images."""
