"""Where tagger models are: their names and the two folder layouts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DEFAULT_MODEL = "wd-swinv2-tagger-v3"
MODEL_NAMES = (
    DEFAULT_MODEL,
    "wd-vit-tagger-v3",
    "wd-convnext-tagger-v3",
    "wd-eva02-large-tagger-v3",
    "wd-vit-large-tagger-v3",
    "wd-v1-4-moat-tagger-v2",
    "wd-v1-4-swinv2-tagger-v2",
    "wd-v1-4-convnext-tagger-v2",
    "wd-v1-4-convnextv2-tagger-v2",
    "wd-v1-4-vit-tagger-v2",
    "wd-v1-4-convnext-tagger",
    "wd-v1-4-vit-tagger",
)
OWNER = "SmilingWolf"
MODEL_FILE = "model.onnx"
TAGS_FILE = "selected_tags.csv"

# Names one entry of a folder on every system, and no hidden one.
_NAME = re.compile(r"[^./\\:*?\"<>|\s][^/\\:*?\"<>|\x00-\x1f]*")


@dataclass(frozen=True)
class ModelFiles:
    """The two files of a tagger."""

    model: Path
    tags: Path


def short_name(name: str) -> str:
    """The model's name without its owner; ValueError unless it can only name a file in a folder."""
    short = name.strip().removeprefix(OWNER + "/")
    if not _NAME.fullmatch(short):
        raise ValueError(
            f"{name!r} is not the name of a tagger; use one such as {DEFAULT_MODEL} or the name of "
            "a folder in the taggers folder"
        )
    return short


def find_local(folder: str | Path, name: str) -> ModelFiles | None:
    """The model in `<folder>/<name>/` or, as flat files, `<folder>/<name>.onnx` and `.csv`."""
    folder, name = Path(folder), short_name(name)
    layouts = (
        ModelFiles(folder / name / MODEL_FILE, folder / name / TAGS_FILE),
        ModelFiles(folder / f"{name}.onnx", folder / f"{name}.csv"),
    )
    return next((files for files in layouts if _filled(files.model) and _filled(files.tags)), None)


def local_names(folder: str | Path) -> tuple[str, ...]:
    """Names of all complete models in the folder, sorted."""
    models = (*Path(folder).glob(f"*/{MODEL_FILE}"), *Path(folder).glob("*.onnx"))
    names = {path.parent.name if path.name == MODEL_FILE else path.stem for path in models}
    return tuple(sorted(n for n in names if _NAME.fullmatch(n) and find_local(folder, n)))


def locate(folders: Sequence[str | Path], name: str) -> ModelFiles:
    """The first complete model of the folders; ValueError says what is missing and where to get it."""
    for folder in folders:
        if files := find_local(folder, name):
            return files
    raise ValueError(f"the tagger {short_name(name)} is not here. " + advice(folders, name))


def advice(folders: Sequence[str | Path], name: str) -> str:
    """The sentence that says where to get a model and where to put it."""
    name = short_name(name)
    target = Path(folders[0]) / name if folders else Path(name)
    return (
        f"Get {MODEL_FILE} and {TAGS_FILE} from https://huggingface.co/{OWNER}/{name} "
        f"and put both into {target}"
    )


def _filled(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
