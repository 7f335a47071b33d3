"""Where tagger models are: their names, the files that make one, and the folder layouts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...base.plain_names import why_not_plain

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
MAPPING_FILE = "tag_mapping.json"
# What makes a folder a tagger: the pairs that kohya's script knows, then what others publish.
_LISTS = (
    TAGS_FILE, MAPPING_FILE, "model_vocabulary.json", "tags-selected.csv", "top_tags.txt",
    "tags_v0.9_13k.json", "metadata.json", "tags.csv", "tags.txt",
)  # fmt: skip
_MODELS = (MODEL_FILE, "model_optimized.onnx", "model_fp16.onnx", "model_quantized.onnx")
_PAIRS = (
    (MODEL_FILE, TAGS_FILE),
    ("model_optimized.onnx", MAPPING_FILE),
    *((model, tags) for tags in _LISTS for model in _MODELS),
    ("camie-tagger-v2.onnx", "camie-tagger-v2-metadata.json"),
    ("model_refined.onnx", "model_refined_metadata.json"),
    ("model_initial.onnx", "model_initial_metadata.json"),
)
# How else a list is called after its model.
_ENDINGS = (".csv", "-metadata.json", "_metadata.json", ".json", ".txt")

# Those whose models have a name of their own.
_OWN_PAIRS = _PAIRS[-3:]
_MOST_PARTS = 2  # kohya's script puts owner/repository/folder into two
_SHOWN = 60  # characters of a name in a message
_TOLD = 6  # names in a message


@dataclass(frozen=True)
class ModelFiles:
    """The two files of a tagger."""

    model: Path
    tags: Path

    @property
    def weights(self) -> tuple[Path, ...]:
        """The files that hold the model: the ONNX file, and the weights that larger ones keep outside."""
        outside = (self.model.with_name(f"{self.model.name}{end}") for end in (".data", "_data"))
        return (self.model, *(path for path in outside if _filled(path)))


def short_name(name: str) -> str:
    """The model's name without its owner; ValueError unless it can only name a file in a folder."""
    short = name.strip().removeprefix(OWNER + "/")
    if not _is_name(short):
        raise ValueError(
            f"{name[:_SHOWN]!r} is not the name of a tagger; use one such as {DEFAULT_MODEL} or the "
            "name of a folder in the taggers folder"
        )
    return short


def _is_name(name: str) -> bool:
    """Whether it names an entry of a folder on every system, or one of a sub-folder."""
    parts = name.split("/")
    return len(parts) <= _MOST_PARTS and not any(map(why_not_plain, parts))


def find_local(folder: str | Path, name: str) -> ModelFiles | None:
    """The model in `<folder>/<name>/` or, as flat files, `<folder>/<name>.onnx` and its list.

    A folder that carries its owner's name, as kohya's script makes it, is found too.
    """
    folder, name = Path(folder), short_name(name)
    for place in (name, f"{OWNER}_{name}", f"{OWNER}/{name}"):
        if files := _in_folder(folder / place):
            return files
    return _first_complete(folder / f"{name}.onnx", _own_lists(folder / f"{name}.onnx"))


def local_names(folder: str | Path) -> tuple[str, ...]:
    """Names of all complete models in the folder and its sub-folders, sorted."""
    folder = Path(folder)
    if not os.path.isdir(folder):  # noqa: PTH112 - Path's own fails for names that cannot be
        return ()
    models = (path for depth in ("*", "*/*", "*/*/*") for path in folder.glob(f"{depth}.onnx"))
    names = set()
    for path in models:
        found = path.parent if _in_folder(path.parent) else path.with_suffix("")
        names.add(found.relative_to(folder).as_posix())
    return tuple(sorted(n for n in names if _is_name(n) and find_local(folder, n)))


def locate(folders: Sequence[str | Path], name: str) -> ModelFiles:
    """The first complete model of the folders; ValueError says what is missing and where to get it."""
    for folder in folders:
        if files := find_local(folder, name):
            return files
    raise ValueError(f"the tagger {short_name(name)} is not here. " + advice(folders, name))


def model_at(path: str | Path) -> ModelFiles:
    """The tagger at a path: its ONNX file, its folder, or a folder with one tagger below it.

    ValueError says what is missing, or names the taggers to choose from.
    """
    path = Path(path)
    if path.suffix.lower() == ".onnx":
        found = _beside(path)
    elif not (found := _in_folder(path)):
        names = local_names(path)
        if len(names) > 1:
            raise ValueError(f"{path} holds several taggers, name one: {', '.join(names)}")
        found = find_local(path, names[0]) if names else None
    if found is None:
        raise ValueError(
            f"{path} is no tagger; give a folder with {_pairs_text()}, or the ONNX file in it{_told(path)}"
        )
    return found


def _pairs_text() -> str:
    """The pairs of files that make a tagger."""
    pairs = ", or ".join(f"{model} and {tags}" for model, tags in _OWN_PAIRS)
    return f"one of {', '.join(_MODELS)} and one of {', '.join(_LISTS)}, or {pairs}"


def _told(path: Path) -> str:
    """Which files a folder has instead."""
    is_folder = os.path.isdir(path)  # noqa: PTH112 - Path's own fails for names that cannot be
    names = sorted(one.name for one in path.iterdir()) if is_folder else []
    more = ", ..." if len(names) > _TOLD else ""
    return f"; seen: {', '.join(names[:_TOLD])}{more}" if names else ""


def advice(folders: Sequence[str | Path], name: str) -> str:
    """The sentence that says where to get a model and where to put it."""
    name = short_name(name)
    target = Path(folders[0]) / name if folders else Path(name)
    return (
        f"Get {MODEL_FILE} and {TAGS_FILE} from https://huggingface.co/{OWNER}/{name} "
        f"and put both into {target}"
    )


def _beside(model: Path) -> ModelFiles | None:
    """An ONNX file with the tag list of its own name, or with one that its folder has."""
    return _first_complete(model, [*_own_lists(model), *map(model.with_name, _LISTS)])


def _own_lists(model: Path) -> list[Path]:
    """The tag lists that are called after their model."""
    return [model.with_name(model.stem + ending) for ending in _ENDINGS]


def _in_folder(folder: Path) -> ModelFiles | None:
    """The first pair of files that is complete in the folder itself."""
    pairs = (_if_complete(ModelFiles(folder / model, folder / tags)) for model, tags in _PAIRS)
    return next((files for files in pairs if files), None)


def _first_complete(model: Path, lists: Sequence[Path]) -> ModelFiles | None:
    pairs = (_if_complete(ModelFiles(model, tags)) for tags in lists)
    return next((files for files in pairs if files), None)


def _if_complete(files: ModelFiles) -> ModelFiles | None:
    return files if _filled(files.model) and _filled(files.tags) else None


def _filled(path: Path) -> bool:
    return os.path.isfile(path) and path.stat().st_size > 0  # noqa: PTH113 - Path's own fails for names that cannot be
