"""Where things lie in this ComfyUI: output, models, datasets."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

from ...base.image_file import NAMES

TAGGERS = "wd14_tagger"
"""Name of the folder of tagger models below ComfyUI's models directory."""


def output_root() -> Path:
    """The pack's own folder below ComfyUI's output directory."""
    return Path(folder_paths.get_output_directory()) / "lora_loop"


def cache_root() -> Path:
    return output_root() / "cache"


def runs_root() -> Path:
    return output_root() / "runs"


def finder_root() -> Path:
    """Where Find Learning Rate trains; nothing stays there."""
    return output_root() / "rate_finder"


def trash_root() -> Path:
    """Where pruned runs stay for some days."""
    return output_root() / "trash"


def reports_root() -> Path:
    """Where reports of runs lie, for bug reports."""
    return output_root() / "reports"


def pictures_root() -> Path:
    """Where images lie that came from other nodes."""
    return output_root() / "pictures"


def class_images_root() -> Path:
    """Where Make Class Images keeps what it made, a folder for each way of making them."""
    return output_root() / "class_images"


def exports_root() -> Path:
    """Where datasets are exported to."""
    return output_root() / "exports"


def peft_root() -> Path:
    """Where LoRAs are exported to as folders of peft."""
    return output_root() / "peft"


def backups_root() -> Path:
    """Where caption files are copied before they are overwritten."""
    return output_root() / "caption_backups"


def renames_root() -> Path:
    """Where Tidy Dataset keeps what it takes to undo a renaming."""
    return output_root() / "renames"


def user_root() -> Path:
    """The pack's own folder below ComfyUI's user directory; its name keeps it from being served over HTTP."""
    return Path(folder_paths.get_user_directory()) / "__lora_loop"


def loras_folder() -> Path:
    """The first folder that ComfyUI lists LoRAs from, into which they are saved."""
    return Path(folder_paths.get_folder_paths("loras")[0])


def other_loras_folders() -> list[Path]:
    """The others that ComfyUI lists LoRAs from."""
    return [Path(path) for path in folder_paths.get_folder_paths("loras")[1:]]


def embeddings_folder() -> Path:
    """The first folder that ComfyUI looks for embeddings in, into which they are saved."""
    return Path(folder_paths.get_folder_paths("embeddings")[0])


def other_embeddings_folders() -> list[Path]:
    """The others that ComfyUI looks for embeddings in."""
    return [Path(path) for path in folder_paths.get_folder_paths("embeddings")[1:]]


def taggers_folder() -> Path:
    """The folder of tagger models; registered with ComfyUI so that extra_model_paths can name more."""
    default = Path(folder_paths.models_dir) / TAGGERS
    folder_paths.add_model_folder_path(TAGGERS, str(default))
    return Path(folder_paths.get_folder_paths(TAGGERS)[0])


def tagger_folders() -> list[Path]:
    """All folders that may hold tagger models, the writable default first."""
    taggers_folder()
    return [Path(p) for p in folder_paths.get_folder_paths(TAGGERS)]


def dataset_folder(text: str) -> Path:
    """The folder a user named: absolute, below ComfyUI's input directory, or below home (~).

    Raises ValueError for an empty text, a network or device path, or a folder that is not there.
    """
    name = text.strip().strip('"')
    if not name:
        raise ValueError(
            "No dataset folder is given. Type the folder of your images: a full path, or the name "
            "of a folder below ComfyUI's input directory."
        )
    path = local_path(name, Path(folder_paths.get_input_directory()), "dataset folder")
    if not os.path.isdir(path):  # noqa: PTH112 - Path's own fails for names that cannot be
        raise ValueError(
            f"The dataset folder {path} does not exist. Make it and put your images ({NAMES}) and "
            "their .txt captions there, or type the folder that holds them."
        )
    return path


def tagger_path(text: str) -> Path:
    """The tagger a user named: absolute, below one of the taggers folders, or below home (~).

    Raises ValueError for a network or device path.
    """
    paths = [local_path(text.strip().strip('"'), base, "tagger") for base in tagger_folders()]
    return next((path for path in paths if os.path.exists(path)), paths[0])  # noqa: PTH110 - as above


def local_path(name: str, base: Path, what: str) -> Path:
    """The path that a user named; one that is not absolute lies below `base`.

    Raises ValueError for a network or device path, in whichever way Windows lets it be written, and
    for what no path can hold.
    """
    if "\0" in name:
        raise ValueError(
            f"The {what} {name!r} holds a zero byte, which no path can. Type it again."
        )
    if name.replace("\\", "/").startswith("//"):
        raise ValueError(
            f"The {what} {name} is a network or device path, which a shared workflow may not open. "
            "Copy it to a local drive or map the share to a drive letter."
        )
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - Path's own fails for ~nobody
    return path if path.is_absolute() else base / path
