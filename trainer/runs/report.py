"""A run's report for a bug report: one zip with versions, config, losses and log, without names of yours."""

from __future__ import annotations

import io
import json
import platform
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

import torch

from ...base.small_file import TABLE_BYTES, parse_json
from ..files.atomic import write_atomically
from ..files.lock import NAME as LOCK
from ..lora_files.metadata import VERSION
from .anonymous import own_names, without_given, without_names, without_values
from .run_list import Run

LIBRARIES = ("torch", "numpy", "safetensors", "pillow", "transformers", "onnxruntime", "filelock")
KINDS = (".json", ".csv", ".log")
"""Endings of a run's files that are numbers and settings: no images, no weights."""

_MOST_BYTES = {".log": 1 << 20}
_NAMED = {"ss_sd_model_name", "ss_output_name", "modelspec.title", "modelspec.trigger_phrase"}

_OURS = re.compile(
    r"(?:run|steps|kept|stopped|best|state|validation|scores)(?:-\d+)?(?:-[0-9a-f]{32})?\.[a-z]+"
)
"""Names of a run's own files: nothing in them is a user's."""

_CELL = r"(?:-?\d+(?:\.\d+)?(?:e[-+]?\d+)?|nan|-?inf)?"
_ROW = re.compile(rf"{_CELL}(?:,{_CELL})*")


def write_report(
    run: Run, path: Path, versions: Mapping[str, str], *, names: bool, advice: str = ""
) -> Path:
    """Write the zip to ``path``. ``versions``: of what the run was made in, beside our own.

    ``advice``: when to stop, in words of ours. ``names``: leave the names of folders and files in it; otherwise each is replaced.
    """
    buffer = io.BytesIO()
    secret = () if names else {*own_names(), *_names_of(run)}
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        found = {**_versions(), **versions, "run": run.name, "status": run.status}
        found = {key: without_given(value, secret) for key, value in found.items()}
        archive.writestr("versions.json", json.dumps(found, indent=1))
        if advice:
            archive.writestr("when_to_stop.txt", advice)
        files = [file for file in _own_files(run) if names or _OURS.fullmatch(file.name)]
        archive.writestr(
            "files.txt", "".join(f"{file.stat().st_size:>14,}  {file.name}\n" for file in files)
        )
        for file in files:
            if file.suffix in KINDS:
                text = _text(file)
                archive.writestr(file.name, text if names else _anonymous(file.name, text, secret))
    write_atomically(path, buffer.getvalue(), root=path.parent)
    return path


def _text(file: Path) -> str:
    """The text of a file; of a long log the end."""
    most = _MOST_BYTES.get(file.suffix, TABLE_BYTES)
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - most))
        return opened.read(most).decode("utf-8", "replace")


def _anonymous(name: str, text: str, secret: Iterable[str]) -> str:
    """A file's text without names; one that should be JSON and is none goes as a whole."""
    if name.endswith(".log"):
        return without_names(text, secret)
    if name.endswith(".csv"):
        head, *rows = text.split("\n")
        return "\n".join([without_names(head, secret), *filter(_ROW.fullmatch, rows)])
    try:
        return json.dumps(without_values(parse_json(text), secret), indent=1)
    except ValueError as error:
        return f"not usable: {error}"


def _names_of(run: Run) -> Iterator[str]:
    """Names that its LoRA's metadata hold: of folders, of the checkpoint, the trigger, the tags."""
    metadata = run.metadata
    if run.model:
        yield from (run.model, Path(run.model).stem)
    for key, value in metadata.items():
        if key in _NAMED:
            yield from (value, Path(value).stem)
    for key in ("ss_dataset_dirs", "ss_reg_dataset_dirs", "ss_tag_frequency"):
        try:
            folders = parse_json(metadata.get(key, "{}"))
        except ValueError:
            continue
        for folder in folders if isinstance(folders, dict) else ():
            yield from (folder, folder.partition("_")[2])


def _versions() -> dict[str, str]:
    found = {"lora_loop": VERSION, "python": sys.version.split()[0], "system": platform.platform()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    cards = map(torch.cuda.get_device_name, range(torch.cuda.device_count()))
    found["device"] = ", ".join(cards) or "no CUDA"
    return found


def _own_files(run: Run) -> list[Path]:
    """The run's files except those in folders, previews say."""
    found = sorted(run.path.iterdir())
    return [path for path in found if path.is_file() and path.name != LOCK]
