"""The routes of the Dataset page. A path never comes from the page: ids and keys that are looked up here."""

from __future__ import annotations

from typing import Any

from ...web.json_request import short_text
from ...web.routes import Picture, Refused, add_route
from .saving import parse_edits, save_edits
from .seen import SEEN, SeenDataset
from .table import dataset_row, dataset_table
from .tag_list import tagger_tags
from .thumbnails import LARGE, SMALL, jpeg_thumbnail

PLACE = "/lora_loop/dataset"
"""GET /list, /images?id=, /thumbnail?id=&image=&size=small|large, /tagger_tags. POST /read {"id"} and
/save {"id", "stamp", "page", "captions": {key: text}, "choices": {key: {"left_out", "weight"}}}."""

MOST_SAVED = 1 << 25
"""Bytes of a request to save: tens of thousands of captions."""

_SECONDS = 24 * 3600
_SIDES = {"small": SMALL, "large": LARGE}


def add_routes() -> None:
    """Let ComfyUI's server answer the page; nothing where there is no server."""
    add_route("GET", f"{PLACE}/list", _list)
    add_route("GET", f"{PLACE}/images", lambda asked: dataset_table(_seen(asked)))
    add_route("GET", f"{PLACE}/thumbnail", _thumbnail)
    add_route("GET", f"{PLACE}/tagger_tags", lambda asked: {"tags": tagger_tags()})
    add_route("POST", f"{PLACE}/read", _read)
    add_route("POST", f"{PLACE}/save", _save, most=MOST_SAVED)


def _seen(asked: dict[str, Any]) -> SeenDataset:
    found = SEEN.find(short_text(asked, "id"))
    if found is None:
        raise Refused("This dataset was not read since ComfyUI was started. Queue its graph.", 404)
    return found


def _list(asked: dict[str, Any]) -> dict[str, Any]:
    return {"datasets": [dataset_row(seen) for seen in SEEN.all()]}


def _thumbnail(asked: dict[str, Any]) -> Picture:
    shown = _seen(asked).images.get(short_text(asked, "image"))
    side = _SIDES.get(asked.get("size", "small"))
    if shown is None or side is None:
        raise Refused("There is no such image in this dataset.", 404)
    try:
        body = jpeg_thumbnail(shown.sample, side)
    except ValueError as error:
        raise Refused(f"No thumbnail: {error}", 409) from error
    return Picture(body, seconds=_SECONDS)  # its address holds a part of the digest


def _read(asked: dict[str, Any]) -> dict[str, Any]:
    seen = _seen(asked)
    return dataset_table(SEEN.read(seen.name, seen.title, seen.read))


def _save(asked: dict[str, Any]) -> dict[str, Any]:
    seen = _seen(asked)
    if asked.get("stamp") not in (None, seen.stamp):
        raise Refused(
            "Another page has saved this dataset meanwhile, or it was read again and had changed. Nothing was "
            "written. Read the folder again to see it; your edits stay.",
            409,
        )
    page = asked.get("page")
    edits = parse_edits(asked, seen)
    after, said = save_edits(seen, edits, page if isinstance(page, str) else None)
    return {"said": said, "table": dataset_table(after)}
