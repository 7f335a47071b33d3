"""Import kohya Config: the files that a config names, its dataset, and its previews in ComfyUI's terms."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import folder_paths

from ....base.gc_pause import collection_paused
from ....trainer.dataset.dataset import Dataset
from ....trainer.files.digests import digest
from ....trainer.kohya.config import KohyaConfig, Source, import_config
from ....trainer.kohya.folders import folder_differences, folders_stamp, read_folders
from ....trainer.kohya.toml import MissingError, read_text
from ..cache_folder import file_index
from ..folders import local_path
from ..previews.previewer import PreviewConfig
from .page.seen import SEEN

PASTED = "the pasted config"


@dataclass(frozen=True)
class ConfigSource:
    """Where a config comes from: its path, or its text, which overrides it; the same for a dataset toml."""

    config: str = ""
    dataset_config: str = ""
    text: str = ""
    dataset_text: str = ""
    bases: tuple[Path, ...] = ()
    """Where relative paths begin, before the config's own folder and ComfyUI's input directory."""

    def places(self) -> tuple[Path, ...]:
        """All folders that relative paths are looked for in, in order."""
        inputs = Path(folder_paths.get_input_directory())
        if self.text.strip() or not self.config.strip():
            return (*self.bases, inputs)
        config = locate(self.config, "config", (*self.bases, inputs))
        return (*self.bases, config.parent, inputs)


@dataclass(frozen=True)
class Imported:
    """What a config gives: our settings, its images, its previews, and what became of it."""

    config: KohyaConfig
    dataset: Dataset
    previews: PreviewConfig
    report: str
    page_id: str


def import_kohya(given: ConfigSource) -> Imported:
    """Read the config and its dataset. ValueError says what is wrong with either."""
    config = read_config(given)
    find = partial(locate, what="dataset folder", places=given.places())

    def read() -> Dataset:
        with file_index() as index, collection_paused():
            return read_folders(config.folders, find, index)

    page_id = digest(repr(config.folders), *map(str, given.places()))
    dataset = SEEN.read(page_id, Path(config.folders[0].path).name, read).obeyed()
    dataset = replace(dataset, trigger=config.trigger)
    previews = PreviewConfig(**config.previews)
    unlike = [f"  {line}" for line in folder_differences(config.folders, dataset, find)]
    images = dataset.report(config.train.loss.masked)
    report = "\n".join([config.report, *unlike, images])  # what is unlike kohya stands last
    return Imported(config, dataset, previews, report, page_id)


def import_stamp(given: ConfigSource) -> str:
    """Changes with every file that the import reads; opens the configs only."""
    try:
        config = read_config(given)
        find = partial(locate, what="dataset folder", places=given.places())
        return digest(repr(config), folders_stamp(config.folders, find))
    except ValueError as problem:
        return str(problem)


def read_config(given: ConfigSource) -> KohyaConfig:
    """The settings of the config, without its images."""
    places = given.places()
    name, text = _contents(given.config, given.text, "config", places)
    source = Source(name, text)
    if given.dataset_config.strip() or given.dataset_text.strip():
        named = given.dataset_config, given.dataset_text
        source = Source(name, text, *_contents(*named, "dataset config", places))
    return import_config(source, lambda path, what: locate(path, what, places))


def locate(name: str, what: str, places: Sequence[Path]) -> Path:
    """The file or folder that a config names: the first that exists of those below `places`.

    Raises ValueError for a network or device path, and MissingError when it is nowhere.
    """
    paths = [local_path(name.strip().strip('"'), place, what) for place in places]
    for path in paths:
        if os.path.exists(path):  # noqa: PTH110 - Path's own fails for names that cannot be
            return path
    tried = " or ".join(dict.fromkeys(map(str, paths)))
    raise MissingError(f"The {what} {name!r} is not there: looked for {tried}.")


def _contents(path: str, text: str, what: str, places: Sequence[Path]) -> tuple[str, str]:
    """The name and text of a config given in one of two ways."""
    if text.strip():
        return PASTED, text
    if not path.strip():
        raise ValueError(
            f"No {what} is given. Type the path of a config.toml, a full one or below ComfyUI's "
            "input directory, or paste its text."
        )
    found = locate(path, what, places)
    return found.name, read_text(found)
