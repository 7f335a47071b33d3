"""Dataset Reports in the folders of runs: written, and read again after a restart for the Dataset page to flag."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ....trainer.files.atomic import write_atomically
from ....trainer.files.record import Part, read_record
from ....trainer.runs.description import read_description
from ....trainer.validation.dataset_report import FLAGS
from .. import folders
from ..dataset.page.findings import FOUND

NAME = "dataset_report.json"
"""In the folder of the LoRA's run."""


class Kept(NamedTuple):
    """An image of a report. flag: None where nothing was found."""

    path: Path
    digest: str
    flag: str | None
    reason: str


def keep(folder: Path, images: Sequence[tuple[Kept, dict[str, Any]]]) -> Path:
    """Write a report into the folder of a run; with each image what else is known of it.

    Raises:
        CannotWrite: it cannot be written, in a sentence.
    """
    rows = [{**kept._asdict(), "path": str(kept.path), **more} for kept, more in images]
    path = folder / NAME
    data = json.dumps({"images": rows}, indent=1).encode()
    write_atomically(path, data, root=folders.runs_root())
    return path


def tell_page(images: Sequence[Kept]) -> None:
    """Flag the images on the Dataset page, as long as their contents are those that were measured."""
    found = {kept.path: {kept.flag: kept.reason} for kept in images if kept.flag is not None}
    FOUND.add(images, FLAGS, found)


def restore() -> None:
    """Flag what the reports of all runs found, the run that was begun last at the end. For the start of ComfyUI."""
    reports = []
    for path in folders.runs_root().glob(f"*/{NAME}"):
        described = read_description(path.parent)
        images = read_record(path, _images)
        if described is not None and images:
            reports.append((described.number, path.parent.name, images))
    for _, _, images in sorted(reports):
        tell_page(images)


def _images(part: Part) -> list[Kept]:
    return [_kept(row) for row in part["images"]]


def _kept(row: Part) -> Kept:
    flag = row.get("flag")
    told = None if flag is None else flag.text()
    if told not in (None, *FLAGS):
        raise ValueError(f"{told!r:.20} is no flag")
    return Kept(Path(row["path"].text()), row["digest"].text(), told, row["reason"].text())
