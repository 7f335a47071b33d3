"""A run's report for a bug report: one zip with versions, config, losses and log, without names of yours."""

from __future__ import annotations

import io
import json
import platform
import re
import sys
import zipfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ..files.atomic import write_atomically
from ..files.lock import NAME as LOCK
from ..lora_files.metadata import VERSION
from .description import DESCRIPTION
from .log import NAME as LOG
from .run_list import Run

LIBRARIES = ("torch", "numpy", "safetensors", "pillow", "transformers", "onnxruntime", "filelock")
KINDS = (".json", ".csv", ".log")
"""Endings of a run's files that are numbers and settings: no images, no weights."""

_PATH = re.compile(r"""(?<![\w.])(?:[A-Za-z]:|~)?[\\/][^"\n\r\t:*?<>|]*""")
"""From where a path begins to where it must end: spaces belong to it."""
_FILE = re.compile(
    r"""(?:[^\s"'\\/]+[\\/])*[^\s"'\\/]+\.(?:png|jpe?g|webp|bmp|avif|txt|safetensors|ckpt|onnx)\b""",
    re.IGNORECASE,
)
"""A file of the user's, with the folders that are said with it."""
_ENDLESS = re.compile(r"\S{2000,}")
"""No word, path or name is so long; the patterns above would take minutes for it."""


def write_report(run: Run, path: Path, versions: Mapping[str, str], *, names: bool) -> Path:
    """Write the zip to ``path``. ``versions``: of what the run was made in, beside our own.

    ``names``: leave the names of folders and files in it; otherwise each is replaced.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        found = {**_versions(), **versions, "run": run.name, "status": run.status}
        archive.writestr("versions.json", json.dumps(found, indent=1))
        archive.writestr(
            "files.txt",
            "".join(f"{path.stat().st_size:>14,}  {path.name}\n" for path in _own_files(run)),
        )
        for file in _own_files(run):
            if file.suffix in KINDS:
                text = file.read_text("utf-8", "replace")
                archive.writestr(file.name, text if names else _without_names(file.name, text))
    write_atomically(path, buffer.getvalue())
    return path


def without_names(text: str) -> str:
    """The text with whatever looks like a path, or the name of an image, caption or model, replaced.

    Names of Python files, as in tracebacks, stay.
    """
    text = _ENDLESS.sub("<damaged>", text.replace(str(Path.home()), "~"))
    return _FILE.sub("<file>", _PATH.sub(_hidden, text))


def _hidden(path: re.Match[str]) -> str:
    name = re.split(r"[\\/]", path[0])[-1]
    return f"<path>/{name}" if name.endswith(".py") else "<path>"


def _without_names(name: str, text: str) -> str:
    """Of a run's own files the log and what it says of itself can hold names; the rest is numbers."""
    if name == LOG:
        return without_names(text)
    if name != DESCRIPTION:
        return text
    try:
        described = json.loads(text, object_hook=_private_values)
        return json.dumps(described, indent=1)
    except (ValueError, RecursionError):  # damaged: maybe that is what the report is about
        return without_names(text)


def _private_values(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: without_names(value) if isinstance(value, str) else value
        for key, value in values.items()
    }


def _versions() -> dict[str, str]:
    found = {"lora_loop": VERSION, "python": sys.version.split()[0], "system": platform.platform()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    found["device"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA"
    return found


def _own_files(run: Run) -> list[Path]:
    """The run's files except those in folders, previews say."""
    found = sorted(run.path.iterdir())
    return [path for path in found if path.is_file() and path.name != LOCK]
