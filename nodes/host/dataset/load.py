"""Load Dataset: the user's folder, what is known of its files, and the contact sheet."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ....trainer.dataset import folders as picture_folders
from ....trainer.dataset.contact_sheet import contact_sheet
from ....trainer.dataset.dataset import Dataset
from ....trainer.dataset.images import thumbnail
from ....trainer.dataset.scan import scan_folder
from ....trainer.files.digests import bytes_digest, digest
from ....trainer.files.store import Store
from .. import folders
from ..cache_folder import cache_store, file_index
from .gc_pause import collection_paused

log = logging.getLogger(__name__)

KIND = "thumbnails"
CAPTION_LINES = ("first", "all")


@dataclass(frozen=True)
class LoadRequest:
    """What the Load Dataset node was given."""

    folder: str
    repeats: int
    regularisation_folder: str
    caption_extension: str
    recursive: bool
    caption_lines: str

    def paths(self) -> tuple[Path, Path | None]:
        """The folder and the one of regularisation pictures; ValueError for one that is not there."""
        reg = self.regularisation_folder.strip()
        return folders.dataset_folder(self.folder), folders.dataset_folder(reg) if reg else None


def folder_problem(folder: str | None) -> str:
    """The sentence that says what is wrong with a folder, or ""; None comes from a linked input."""
    try:
        if folder is not None:
            folders.dataset_folder(folder)
    except ValueError as problem:
        return str(problem)
    return ""


def folder_stamp(request: LoadRequest) -> str:
    """Changes with every file that the node reads; opens none."""
    root, reg_root = request.paths()
    return picture_folders.folder_stamp(
        root, reg_root, request.caption_extension, request.recursive
    )


def load_dataset(request: LoadRequest) -> tuple[Dataset, np.ndarray]:
    """The dataset and its contact sheet, uint8 RGB."""
    root, reg_root = request.paths()
    with file_index() as index, collection_paused():
        dataset = scan_folder(
            root,
            reg_root=reg_root,
            caption_extension=request.caption_extension,
            repeats=request.repeats,
            index=index,
            recursive=request.recursive,
            all_lines=request.caption_lines == "all",
        )
    digests = {sample.path: sample.digest for _, sample in dataset.samples()}
    with cache_store() as store:
        sheet = contact_sheet(
            list(digests), make=lambda path, side: _thumbnail(path, side, digests, store)
        )
    return dataset, sheet


def _thumbnail(path: Path, side: int, digests: dict[Path, str], store: Store) -> np.ndarray:
    """A thumbnail from the cache, so that no picture is opened again for it."""
    key = digest(KIND, side, digests[path])
    known = store.load(KIND, key)
    if known is not None:
        return known["pixels"].numpy()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: {error}") from error
    pixels = thumbnail(path, side, data)
    if bytes_digest(data) == digests[path]:
        try:
            store.save(KIND, key, {"pixels": torch.from_numpy(pixels.copy())})
        except OSError as error:
            log.warning("LoRA Loop: %s", error)
    return pixels
