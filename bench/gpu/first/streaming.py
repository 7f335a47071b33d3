"""Weights that come from RAM: by ComfyUI's own means, by dynamic VRAM, by `stream_weights`."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch

from .ballast import small_card
from .timing import against, make, timed
from .verdicts import Place, Row, first_line, measured, waiting

WAYS = {"ComfyUI's own": {}, "stream_weights": {"stream_weights": True}}
"""Dynamic VRAM is a third: `stream_weights` leaves it to that."""
PATH = "stream_weights"


def check(place: Place) -> Iterator[Row]:
    """The time of a step on a card too small for the weights. settings: dynamic_vram."""
    paged = bool(place.settings.get("dynamic_vram"))
    if place.is_card and not paged:
        from ..small_card import pretend

        pretend(place.cap)
    found: dict[str, dict[str, Any]] = {}
    with small_card(place.cap) if place.is_card and paged else nullcontext():
        for name, speed in ({"dynamic VRAM": {}} if paged else WAYS).items():
            yield _row(name, speed, found, place)
    if place.is_card and len(found) > 1:
        own, streamed = found.values()
        yield measured(f"stream_weights: {against(streamed, own)}", path=PATH)
    if not place.is_card:
        yield waiting("copies beside computing, and what lies on the card")


def _row(name: str, speed: dict[str, Any], found: dict[str, Any], place: Place) -> Row:
    ours = make(place.scene(torch.float16), place.folder / "ours", speed, managed=True)
    try:
        found[name] = row = timed(ours, place, 1)
    except RuntimeError as error:
        return measured(f"{name}: {first_line(error)}")
    finally:
        del ours
        gc.collect()
    said = f"{name}: {row['ms']:.1f} ms a step"
    if place.is_card:
        said += (
            f", {row['copy_in_ms']:.1f} ms of copies to the card, "
            f"{row['allocated_mib'] / 1024:.2f} GiB allocated"
        )
    return measured(said, path=PATH, numbers_of_meter=row)
