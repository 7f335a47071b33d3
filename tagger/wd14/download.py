"""Getting a known tagger from Hugging Face, so that a half download is never taken for a model."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Protocol

from ...base.inside import inside
from ...base.write_errors import CannotWrite, writing
from .models import (
    MODEL_FILE,
    MODEL_NAMES,
    OWNER,
    TAGS_FILE,
    ModelFiles,
    advice,
    find_local,
    short_name,
)

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all (0 if unknown); may raise to give up waiting."""

POLL_SECONDS = 0.25


class Source(Protocol):
    """Where files are downloaded from."""

    def size(self, repository: str, file: str) -> int:
        """Bytes of a file, 0 if unknown."""
        ...

    def fetch(self, repository: str, file: str, folder: Path) -> None:
        """Put the whole file into the folder, going on with an earlier attempt's part of it."""
        ...


class Hub:
    """Hugging Face, through whichever huggingface_hub the host has; it honours HF_HUB_OFFLINE."""

    def size(self, repository: str, file: str) -> int:
        """Bytes of a file by its headers."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        return get_hf_file_metadata(hf_hub_url(repository, file)).size or 0

    def fetch(self, repository: str, file: str, folder: Path) -> None:
        """Download a file; huggingface_hub resumes it and checks its length."""
        from huggingface_hub import hf_hub_download

        hf_hub_download(repository, file, local_dir=folder)


class _Transfer(Thread):
    """Fetches both files; a daemon, so that one that nobody waits for any more delays no exit."""

    def __init__(self, source: Source, repository: str, folder: Path) -> None:
        super().__init__(name="tagger-download", daemon=True)
        self.source, self.repository, self.folder = source, repository, folder
        self.total = 0
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            files = (TAGS_FILE, MODEL_FILE)
            self.total = sum(self.source.size(self.repository, file) for file in files)
            for file in files:
                self.source.fetch(self.repository, file, self.folder)
        except Exception as error:  # noqa: BLE001 - raised in the thread that waits for this one
            self.error = error


def download(
    name: str, folder: str | Path, progress: Progress | None = None, source: Source | None = None
) -> ModelFiles:
    """Download a known model into `<folder>/<name>/`; at once if it is there; ValueError if not got.

    Files arrive in a hidden folder beside it, which a later attempt goes on with, and are moved
    into place when both are complete, the model last. If `progress` raises, its error passes
    through and the transfer under way is left to its thread and the hidden folder.
    """
    name, folder = short_name(name), Path(folder)
    if found := find_local(folder, name):
        return found
    if name not in MODEL_NAMES:
        raise ValueError(
            f"{name} is not among the taggers that can be downloaded ({', '.join(MODEL_NAMES)}); "
            f"put its {MODEL_FILE} and {TAGS_FILE} into {folder / name}"
        )
    partial = inside(folder / f".{name}.download", folder, follow=True)
    with writing(partial):
        partial.mkdir(parents=True, exist_ok=True)
    transfer = _Transfer(source or Hub(), f"{OWNER}/{name}", partial)
    transfer.start()
    _watch(transfer, progress)
    if transfer.error is not None:
        error = transfer.error
        if (
            isinstance(error, OSError)
            and error.errno is not None
            and CannotWrite(folder, error).is_full
        ):
            error = CannotWrite(partial, error)
        raise ValueError(
            f"the tagger {name} could not be downloaded: {error}. {advice([folder], name)}"
        ) from error
    return _move(partial, folder, name)


def _watch(transfer: _Transfer, progress: Progress | None) -> None:
    """Wait for the transfer, reporting how much of it lies on disk: at least once, when it is over."""
    is_over = False
    while not is_over:
        transfer.join(POLL_SECONDS)
        is_over = not transfer.is_alive()
        if progress is not None and transfer.error is None:
            done = _bytes_in(transfer.folder)
            progress(min(done, transfer.total) if transfer.total else done, transfer.total)


def _bytes_in(folder: Path) -> int:
    """Bytes of all files below, those being renamed meanwhile left out."""
    sizes = []
    for path in folder.rglob("*"):
        try:
            sizes.append(path.stat().st_size if path.is_file() else 0)
        except OSError:
            continue
    return sum(sizes)


def _move(partial: Path, folder: Path, name: str) -> ModelFiles:
    target = inside(folder / name, folder, follow=True)
    for file in (TAGS_FILE, MODEL_FILE):
        if not (partial / file).is_file() or not (partial / file).stat().st_size:
            raise ValueError(f"the download of {name} brought no {file}. {advice([folder], name)}")
    with writing(target):
        target.mkdir(exist_ok=True)
        for file in (TAGS_FILE, MODEL_FILE):
            (partial / file).replace(target / file)
    shutil.rmtree(partial, ignore_errors=True)
    return ModelFiles(target / MODEL_FILE, target / TAGS_FILE)
