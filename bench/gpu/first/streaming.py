"""Weights that come from RAM: by ComfyUI's own means, by `stream_weights`, fetched ahead."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch

from .ballast import small_card
from .timing import against, known, make, timed
from .verdicts import Place, Row, first_line, measured, waiting

WAYS = {
    "ComfyUI's own": {},
    "stream_weights": {"stream_weights": True},
    "prefetch_weights": {"prefetch_weights": True},
}


def check(place: Place) -> Iterator[Row]:
    """The time of a step on a card too small for the weights. settings: dynamic_vram."""
    paged = bool(place.settings.get("dynamic_vram"))
    if place.is_card and not paged:
        from ..small_card import pretend

        pretend(place.cap)
    found: dict[str, dict[str, Any]] = {}
    with small_card(place.cap) if place.is_card and paged else nullcontext():
        for name, speed in WAYS.items():
            if known(**speed) is None or (paged and name == "stream_weights"):
                continue
            yield _row(name, speed, found, place)
    own = found.get("ComfyUI's own") if place.is_card else None
    for name, row in found.items():
        if own is not None and row is not own:
            beside = "dynamic VRAM" if paged else "ComfyUI's own"
            yield measured(f"{name} beside {beside}: {against(row, own)}", path=name)
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
    return measured(said, numbers_of_meter=row)
