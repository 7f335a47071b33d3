"""Which folders of the user's the pack may change files in. Owns the list of what the user allowed.

docs/design.md, "What only the user can allow".
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import folder_paths

from ...base.shortened import in_sentence
from ...base.small_file import read_json
from ...trainer.dataset.file_names import is_caption, is_picture
from ...trainer.dataset.folders import list_folder
from ...trainer.files.atomic import write_atomically
from . import folders
from .questions import QUESTIONS, Question, plain

log = logging.getLogger(__name__)

VARIABLE = "LORA_LOOP_ALLOW"
"""Environment variable with folders, separated like those in PATH, for servers without a browser."""

_SYSTEM = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/sbin", "/sys", "/usr/bin",
    "/usr/lib", "/usr/sbin", "/Library", "/System",
    *(os.environ.get(name, "") for name in ("SystemRoot", "ProgramFiles", "ProgramFiles(x86)", "ProgramData")),
)  # fmt: skip
"""Never allowed, nor anything below them."""

_SHARED = (
    "/Applications", "/Users", "/Volumes", "/home", "/media", "/mnt", "/opt", "/private", "/root",
    "/run", "/srv", "/tmp", "/usr", "/usr/local", "/usr/share", "/var",
)  # fmt: skip
"""Never allowed as a whole; folders below them may be."""

_DRIVES = ("Volumes", "media", "mnt", "run")
"""Where drives appear. Elsewhere a mounted folder may be a dataset, as in a container."""

_writing = threading.Lock()


def check_allowed(
    changed: Iterable[Path], who: str, *, page: str | None = None, again: str = "queue again"
) -> None:
    """Refuse to go on unless files in these folders may be changed; the browser asks the user meanwhile.

    Allowed is what lies below ComfyUI's input directory, our own copies of images, and the folders that
    the user allowed, with all that is below them. Links are resolved. ``who``: the node, or our page.
    ``page``: the id of the page that is asked, None for the one that queued. ``again``: what to do then.

    Raises:
        ValueError: the user has not allowed one of them yet, or it is too much to be allowed.
    """
    real = {Path(os.path.realpath(folder)) for folder in changed}
    inputs = Path(os.path.realpath(folder_paths.get_input_directory()))
    own = [folders.pictures_root(), folders.exports_root(), folders.class_images_root()]
    given, problem = _given()
    roots = {Path(os.path.realpath(folder)) for folder in (*own, *given)}
    missing = {
        folder
        for folder in real
        if inputs not in folder.parents and roots.isdisjoint((folder, *folder.parents))
    }
    if not missing:
        return
    asked = sorted(folder for folder in missing if missing.isdisjoint(folder.parents))
    wide = [plain(str(folder)) for folder in asked if is_too_wide(folder)]
    if wide:
        raise ValueError(
            f"{who} does not change files in {in_sentence(wide)}, which holds much more than a dataset "
            f"and cannot be allowed: move the images into a folder of their own and {again}."
        )
    is_asked = QUESTIONS.ask(_question(asked, who, again), page)
    raise ValueError(_refusal(asked, who, is_asked, again) + problem)


def is_too_wide(folder: Path) -> bool:
    """Whether a folder cannot be allowed: a drive, a home, a folder of the system or around ComfyUI."""
    chain = [_identity(path) for path in (folder, *folder.parents)]
    homes = [
        Path(os.path.expanduser("~")),  # noqa: PTH111 - Path's own fails where there is none
        Path(folder_paths.base_path),
        Path(folder_paths.__file__).parent,
    ]
    around = [*homes, *(parent for home in homes for parent in home.parents), *map(Path, _SHARED)]
    programs = [*filter(None, _SYSTEM), *folder_paths.get_folder_paths("custom_nodes")]
    return (
        folder == folder.parent
        or (folder.is_mount() and folder.parts[1] in _DRIVES)
        or chain[0] is None
        or chain[0] in {_identity(path) for path in around}
        or not {_identity(Path(path)) for path in programs}.isdisjoint(chain)
    )


def allowed_file() -> Path:
    """Where the folders are kept: {"folders": [path, ...]}, which may be edited by hand."""
    return folders.user_root() / "allowed_folders.json"


def remember(allowed: Sequence[Path], again: str = "queue again") -> str:
    """Keep folders as allowed, beside those that are; a sentence for the user.

    Raises:
        OSError: they cannot be written.
    """
    file = allowed_file()
    with _writing:
        known, problem = _read(file)
        if problem and not os.access(file, os.R_OK):
            raise PermissionError(f"{plain(str(file))} cannot be read, so nothing is added to it")
        if problem:
            file.replace(file.with_suffix(".damaged.json"))
        together = dict.fromkeys((*known, *map(str, allowed)))
        data = json.dumps({"folders": list(together)}, indent=1).encode("ascii")
        write_atomically(file, data, root=file.parent, durable=True)
    return f"Allowed, and kept in {plain(str(file))}. {again.capitalize()}."


def _given() -> tuple[list[Path], str]:
    """What the user allowed, in the file and by the environment, and a sentence about a damaged file."""
    kept, problem = _read(allowed_file())
    named = os.environ.get(VARIABLE, "").split(os.pathsep)
    texts = [os.path.expanduser(text) for text in (*kept, *named)]  # noqa: PTH111 - ~nobody stays
    given = [Path(os.path.realpath(text)) for text in texts if Path(text).is_absolute()]
    wide = [str(folder) for folder in given if folder.exists() and is_too_wide(folder)]
    if wide:
        log.warning("LoRA Loop: more than can be allowed, and not taken: %s", in_sentence(wide))
    return [folder for folder in given if str(folder) not in wide], problem


def _read(file: Path) -> tuple[list[str], str]:
    """The folders in the file; none and a sentence about it where it is damaged."""
    try:
        kept = read_json(file)["folders"]
        if not isinstance(kept, list) or not all(
            isinstance(text, str) and "\0" not in text for text in kept
        ):
            raise ValueError("it is no list of paths")
    except FileNotFoundError:
        return [], ""
    except (OSError, ValueError, LookupError, TypeError) as error:
        log.warning("LoRA Loop: %s is damaged, so nothing that it allows counts: %s", file, error)
        return [], f" The file {file} is damaged ({error}), so nothing that it allows counts."
    return kept, ""


def _question(asked: Sequence[Path], who: str, again: str) -> Question:
    return Question(
        title=f"May {who} change files in this folder?",
        text="Images are renamed with their captions and masks, and captions are edited, only in folders that "
        "you have allowed once, with all folders below. Say yes if it is a dataset of yours. "
        "Tidy Dataset, Save Captions and the Dataset page ask for:",
        items=tuple(_described(folder) for folder in asked),
        yes="Allow",
        do=lambda: remember(asked, again),
    )  # fmt: skip


def _described(folder: Path) -> str:
    """A folder, and what in it is no part of a dataset: so that a program is seen to be one."""
    names = sorted(list_folder(folder).files)
    others = [name for name in names if not (is_picture(name) or is_caption(name))]
    return f"{folder}, which also holds {in_sentence(others, 3)}" if others else str(folder)


def _refusal(asked: Sequence[Path], who: str, is_asked: bool, again: str) -> str:
    where = in_sentence([plain(str(folder)) for folder in asked])
    how = "say yes in the dialog of the browser, or " if is_asked else ""
    return (
        f"{who} may not change files in {where} until you allow it once: {how}name the folder in the "
        f"environment variable {VARIABLE} of ComfyUI or in {allowed_file()}, and {again}."
    )


def _identity(path: Path) -> tuple[int, int] | None:
    """What a folder is by, whatever its name and case; None if it is not there."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
