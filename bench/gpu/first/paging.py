"""Dynamic VRAM on a small card: does one early large image push weights off it for good?"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from statistics import mean
from typing import Any

import torch

from ....trainer.batches.plan import epoch_batches
from ...peers.ours import Ours
from .ballast import small_card
from .verdicts import Place, Row, measured, verdict, waiting
from .watching import PAGE, Paging, Steps

STEPS, LARGE_AT, LAST = 16, (1, 2, 3), 5
"""Steps of a run, the places where the large image may come (from 0), how many are averaged at the end."""
MIB = 1 << 20


def check(place: Place) -> Iterator[Row]:
    """The same run without and with a large image near its beginning: bytes fetched in its last steps."""
    if not place.is_card:
        yield from _rehearse(place)
        return
    ours = Ours(place.scene(torch.float16), place.folder / "ours", managed=True)
    paging = Paging()
    paging.install()
    with small_card(place.cap):
        calm, _ = _train(ours, paging, 0)
        yield measured(f"no large image: {_steps(calm)}")
        stormy, large_at = _train(ours, paging, 1536)
        yield measured(f"a large image in step {large_at + 1}: {_steps(stormy)}")
    before, after = (mean(step["fetched"] for step in run[-LAST:]) for run in (calm, stormy))
    slower = mean(s["ms"] for s in stormy[-LAST:]) / mean(s["ms"] for s in calm[-LAST:])
    yield verdict(
        after <= 1.1 * before + PAGE,
        f"last {LAST} steps fetch {after / MIB:.0f} MiB each, {before / MIB:.0f} without a large image "
        f"before them; {slower:.2f} times the time",
        fetched=after,
        fetched_without=before,
    )


def _rehearse(place: Place) -> Iterator[Row]:
    """The two runs alone, where nothing pages."""
    ours = Ours(place.scene(), place.folder / "ours", managed=True)
    for larger in (0, 2 * 256):
        run, at = _train(ours, None, larger, steps=max(LARGE_AT) + 2)
        yield measured(f"{len(run)} steps, the large image at {at}")
    yield waiting("what dynamic VRAM fetches in a step, and its watermark")


def _train(
    ours: Ours, paging: Paging | None, larger: int, steps: int = STEPS
) -> tuple[list[dict[str, Any]], int]:
    """What was seen of each step, and the place of the large image."""
    cached, last = ours.cache(2, larger), [time.perf_counter()]
    seeds = (seed for seed in range(1000) if not larger or _place(cached, seed, larger) in LARGE_AT)
    seed = next(seeds)

    def look(event: Any) -> dict[str, Any]:
        now = time.perf_counter()
        ms, last[0] = (now - last[0]) * 1000, now
        return {"ms": ms} | (_paged(ours, paging) if paging is not None else {})

    follower = Steps(look)
    config = dataclasses.replace(ours.config(1, steps), seed=seed)
    ours.train(cached, config, follower.join)
    return follower.found, _place(cached, seed, larger)


def _place(cached: Any, seed: int, larger: int) -> int:
    """The number of the batch with the large image, from 0; -1 without one."""
    batches = epoch_batches(cached, 1, seed, 0)
    sizes = [cached.items[batch[0].item_index].bucket[0] for batch in batches]
    return sizes.index(larger) if larger else -1


def _paged(ours: Ours, paging: Paging) -> dict[str, Any]:
    """Bytes fetched since the last step, pages on the card and allowed there."""
    found: dict[str, Any] = {"fetched": paging.take()}
    for vbar in ours.patcher.model.dynamic_vbars.values():
        found |= {"loaded": vbar.loaded_size(), "watermark": vbar.get_watermark() * PAGE}
    return found


def _steps(run: list[dict[str, Any]]) -> str:
    """A few of them in words."""
    shown = [*range(min(6, len(run))), len(run) - 1]
    said = [
        f"{n + 1}: {run[n]['fetched'] / MIB:.0f} MiB in {run[n]['ms']:.0f} ms, "
        f"{run[n].get('loaded', 0) / MIB:.0f} loaded, watermark {run[n].get('watermark', 0) / MIB:.0f}"
        for n in shown
    ]
    return "; ".join(said)
