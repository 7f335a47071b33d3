"""What a page can see of one run: its curve and its previews, from the folder of the run.

So a run that another process trains, without a page, can be watched as well.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ....base.image_file import DECODE_ERRORS, open_image, opened
from ....trainer.curves.curve import read_curve
from ....trainer.curves.resumes import read_resumes
from ....trainer.runs.checkpoints import FOLDER as CHECKPOINTS
from ....trainer.runs.run_list import find_run
from ....trainer.runs.scorecard import read_scorecard
from ....trainer.validation.book import when_to_stop_of
from .. import folders
from ..previews.preview_book import PreviewBook, read_made_by
from ..web.json_request import short_text
from ..web.routes import Picture, Refused, add_route

CURVE, PREVIEWS, PREVIEW = (f"/lora_loop/run/{name}" for name in ("curve", "previews", "preview"))
"""GET, each with ``run``, the name of a run; the last with ``name`` of a preview as well, and ``small``
for a thumbnail."""

SMALL = 192
"""Pixels of a thumbnail's longer side."""
_SECONDS = 3600  # the address of a preview changes with its file


def add_routes() -> None:
    """Let ComfyUI's server answer the page; nothing where there is no server."""
    add_route("GET", CURVE, _curve)
    add_route("GET", PREVIEWS, _previews)
    add_route("GET", PREVIEW, _preview)


def run_folder(asked: dict[str, Any]) -> Path:
    """The folder of the run that is asked for. Raises Refused where there is none."""
    run = find_run(folders.runs_root(), short_text(asked, "run"))
    if run is None:
        raise Refused("There is no such run (any more).", 404)
    return run.path


def _curve(asked: dict[str, Any]) -> dict[str, Any]:
    run = run_folder(asked)
    return {**read_curve(run), "marks": [{"step": s, "kind": kind} for s, kind in _marks(run)]}


def _marks(run: Path) -> Iterator[tuple[int, str]]:
    """(step, kind) of previews, checkpoints and resumes; of an epoch's checkpoint no step is known."""
    yield from ((step, "resume") for step in read_resumes(run))
    yield from ((step, "preview") for step in sorted({p.step for p in _book(run).places()}))
    for path in sorted((run / CHECKPOINTS).glob("*.safetensors")):
        number = path.stem.rpartition("-step")[2]
        if number.isdecimal() and len(number) < 10:
            yield int(number), "checkpoint"


def _previews(asked: dict[str, Any]) -> dict[str, Any]:
    """Every preview, with its scores where it was scored; and when to stop, in words."""
    run, found = run_folder(asked), []
    card = read_scorecard(run)
    scored = {(row.step, row.prompt, row.strength): row for row in card.rows} if card else {}
    for place, path in _book(run).places().items():
        try:
            with open_image(path) as image:
                width, height = image.size
            version = path.stat().st_mtime_ns
        except DECODE_ERRORS:  # damaged, or taken away meanwhile
            continue
        size = {"width": width, "height": height, "version": str(version)}
        row = scored.get((place.step, place.prompt, place.strength))
        text = (read_made_by(path) or {}).get("text", "")
        told = {"text": text, "scores": row and row.scores, "tags": row and row.tags}
        found.append({"name": place.name, **place._asdict(), **size, **told})
    return {"previews": found, "advice": when_to_stop_of(run)}


def _preview(asked: dict[str, Any]) -> Picture:
    book, name = _book(run_folder(asked)), short_text(asked, "name")
    path = {place.name: path for place, path in book.places().items()}.get(name)
    if path is None:
        raise Refused("There is no such preview (any more).", 404)
    if not asked.get("small"):
        return Picture(path.read_bytes(), "image/png", _SECONDS)
    with opened(path) as image:
        image.thumbnail((SMALL, SMALL))
        target = io.BytesIO()
        image.convert("RGB").save(target, "JPEG", quality=85)
    return Picture(target.getvalue(), seconds=_SECONDS)


def _book(run: Path) -> PreviewBook:
    return PreviewBook(run / "previews")
