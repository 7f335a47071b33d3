"""Load Dataset: the user's folder, what is known of its files, and the contact sheet."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from ....base.config import Config, Problems
from ....base.gc_pause import collection_paused
from ....trainer.dataset import folders as picture_folders
from ....trainer.dataset.caption_files import caption_ending
from ....trainer.dataset.contact_sheet import contact_sheet
from ....trainer.dataset.dataset import Dataset
from ....trainer.dataset.images import thumbnail
from ....trainer.dataset.scan import scan_folder
from ....trainer.files.digests import bytes_digest, digest
from ....trainer.files.store import Store
from .. import folders
from ..cache_folder import cache_store, file_index
from .page.seen import SEEN

log = logging.getLogger(__name__)

KIND = "thumbnails"
CaptionLines = Literal["first", "all"]


@dataclass(frozen=True)
class LoadConfig(Config):
    """Which folder is read, and how."""

    title = "Load Dataset"

    folder: str = "lora_loop_example"
    """This folder holds the images: a full path, or one below ComfyUI's input directory."""
    repeats: int = 1
    """Each image comes so many times in an epoch, unless its folder's name brings a number."""
    regularisation_folder: str = ""
    """This folder holds regularisation images (kohya: reg_data_dir); empty for none."""
    caption_extension: str = ".txt"
    """The names of caption files end with this."""
    recursive: bool = False
    """Sub-folders without a number are read as well, of any depth."""
    caption_lines: CaptionLines = "first"
    """These lines of a caption file are its caption; of several one is taken at each step."""

    def check(self, problems: Problems) -> None:
        try:
            caption_ending(self.caption_extension)
        except ValueError as problem:
            problems.append(f"caption_extension: {problem}".rstrip("."))

    def paths(self) -> tuple[Path, Path | None]:
        """The folder and the one of regularisation images; ValueError for one that is not there."""
        reg = self.regularisation_folder.strip()
        return folders.dataset_folder(self.folder), folders.dataset_folder(reg) if reg else None

    def page_id(self) -> str:
        """What the page calls the dataset that is read in this way."""
        return digest(repr(self), *map(str, self.paths()))


def folder_problem(folder: str | None) -> str:
    """The sentence that says what is wrong with a folder, or ""; None comes from a linked input."""
    try:
        if folder is not None:
            folders.dataset_folder(folder)
    except ValueError as problem:
        return str(problem)
    return ""


def folder_stamp(config: LoadConfig) -> str:
    """Changes with every file that the node reads; opens none."""
    root, reg_root = config.paths()
    return picture_folders.folder_stamp(root, reg_root, config.caption_extension, config.recursive)


def load_dataset(config: LoadConfig) -> tuple[Dataset, np.ndarray]:
    """The dataset, as was decided about its images, and its contact sheet, uint8 RGB. The page is told of it."""
    root, _ = config.paths()
    dataset = SEEN.read(config.page_id(), root.name, partial(_read, config)).obeyed()
    digests = {sample.path: sample.digest for _, sample in dataset.samples()}
    with cache_store() as store:
        sheet = contact_sheet(
            list(digests),
            make=lambda path, side: _thumbnail(path, side, digests, store),
            labels=[path.name for path in digests],
        )
    return dataset, sheet


def _read(config: LoadConfig) -> Dataset:
    """All images of the folder."""
    root, reg_root = config.paths()
    with file_index() as index, collection_paused():
        return scan_folder(
            root,
            reg_root=reg_root,
            caption_extension=config.caption_extension,
            repeats=config.repeats,
            index=index,
            recursive=config.recursive,
            all_lines=config.caption_lines == "all",
        )


def _thumbnail(path: Path, side: int, digests: dict[Path, str], store: Store) -> np.ndarray:
    """A thumbnail from the cache, so that no image is opened again for it."""
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
