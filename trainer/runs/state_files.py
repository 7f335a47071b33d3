"""Training states on disk: written, verified and rotated."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import re
from pathlib import Path
from typing import IO, Any

import torch

from ..files.atomic import PARTIALS, partial_file, sync_folder
from ..files.digests import file_digest
from ..training.state import State

log = logging.getLogger(__name__)

FORMAT = 1


KEPT = 2
"""States of a run that stay on disk: should the last be damaged, there is one before it."""


NAME = re.compile(r"state-(\d{8,})-([0-9a-f]{32})\.pt")


class StateFiles:
    """Files ``state-<step>-<digest of the contents>.pt`` in one folder, the newest ``KEPT`` of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, state: State) -> Path:
        """Write a state, then take away older ones. It has its name only once it is on the disk.

        The one just written stays, and of the others the furthest: what the clock said when they were
        written does not count.

        Raises:
            CannotWrite: it cannot be written; those that were there stay.
        """
        name = self.folder / f"state-{state.step:08}"
        with partial_file(self.folder, name, root=self.folder) as partial:
            with partial.open("wb") as file:
                hashing = _Hashing(file)
                hashing.take({"format": FORMAT, **vars(state)})
                file.flush()
                os.fsync(file.fileno())
            path = self.folder / f"state-{state.step:08}-{hashing.digest()}.pt"
            partial.replace(path)
            sync_folder(self.folder)
        others = sorted((found for found in self._found() if found[1] != path), reverse=True)
        for _, old in others[KEPT - 1 :]:
            _remove(old)
        return path

    def latest(self, most: int) -> State | None:
        """The furthest whole state of at most ``most`` steps; a damaged one is passed over and removed."""
        for step, path in sorted(self._found(), reverse=True):
            if step <= most:
                state = read_state(path)
                if state is not None:
                    return state
                _remove(path)
        return None

    def tidy(self) -> None:
        """Take away what a killed process left half-written. Only for who holds the run's lock."""
        for path in self.folder.glob(PARTIALS):
            _remove(path)

    def _found(self) -> list[tuple[int, Path]]:
        names = ((path, NAME.fullmatch(path.name)) for path in self.folder.glob("state-*.pt"))
        return [(int(match[1]), path) for path, match in names if match]


class _Hashing:
    """A file that names what is written into it, so that a state is never in memory twice."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hasher = file, hashlib.blake2b(digest_size=16)
        self._error: OSError | None = None

    def take(self, values: dict[str, Any]) -> None:
        """Write the values as torch does, whose own error does not say what the system's was.

        Raises:
            OSError: the file cannot be written.
        """
        try:
            torch.save(values, self)  # type: ignore[arg-type]
        except RuntimeError as error:
            raise self._error or error from None

    def write(self, data: Any) -> int:
        self._hasher.update(data)
        try:
            return self._file.write(data)
        except OSError as error:
            self._error = error
            raise

    def flush(self) -> None:
        self._file.flush()

    def digest(self) -> str:
        return self._hasher.hexdigest()


def read_state(path: Path) -> State | None:
    """The state in a file that `StateFiles` wrote; None, and a warning, if it is damaged."""
    match = NAME.fullmatch(path.name)
    try:
        if match is None or file_digest(path) != match[2]:
            raise ValueError("its contents are not those that were written")
        with torch.inference_mode(False):  # tensors that training may change
            values = torch.load(path, map_location="cpu", weights_only=True)
        if values.pop("format") != FORMAT:
            raise ValueError("another version wrote it")
        state = State(**values)
        if state.step != int(match[1]):
            raise ValueError(f"it is of step {state.step}, and its name says another")
        return state
    except (OSError, ValueError, RuntimeError, TypeError, LookupError, pickle.UnpicklingError) as e:
        log.warning("LoRA Loop: the state %s is not usable: %s", path, e)
        return None


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:  # Windows: another program has it open
        log.info("The file %s stays: %s", path, error)
