"""CUDA graphs and Triton's kernels: the same losses, replays again after a preview, and what they gain."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from typing import Any
from unittest import mock

from ....trainer.training.cuda_recorder import CudaRecorder
from .timing import against, make, timed
from .verdicts import Place, Row, first_line, measured, verdict, waiting
from .watching import Steps

WAYS = {
    "plain": {},
    "CUDA graphs": {"cuda_graphs": True},
    "Triton": {"triton_kernels": True},
    "both": {"cuda_graphs": True, "triton_kernels": True},
}
LOSS = 1e-2
"""Largest relative difference of the last losses in bfloat16."""
STEPS, SMALL = 14, 4
"""Of the run in whose middle ComfyUI does work of its own."""


def check(place: Place) -> Iterator[Row]:
    """Ours with nothing computed again, the weights on the card."""
    yield from _preview_between(place)
    for batch in (1,) if place.small else (1, 4):
        found: dict[str, dict[str, Any]] = {}
        for name, speed in WAYS.items():
            ours = make(place.scene(), place.folder / "ours", speed, checkpointing="off")
            try:
                found[name] = timed(ours, place, batch)
            except RuntimeError as error:
                yield verdict(False, f"batch {batch}, {name}: {first_line(error)}")
            del ours
            gc.collect()
        yield from _compare(found, batch, place)


def _compare(found: dict[str, dict[str, Any]], batch: int, place: Place) -> Iterator[Row]:
    plain = found.pop("plain", None)
    if plain is None:
        return
    for name, row in found.items():
        near = math.isclose(row["last_loss"], plain["last_loss"], rel_tol=LOSS)
        text = f"batch {batch}, {name}: last loss {row['last_loss']:.5f}, plain {plain['last_loss']:.5f}"
        yield verdict(near, text)
        if place.is_card:
            text = f"batch {batch}, {name}: {against(row, plain)}; {row['launches']} launches, {plain['launches']} plain"
            yield measured(text, path=name if name != "both" else "", ms=row["ms"])
    if not place.is_card:
        yield waiting("recordings, Triton's kernels and their time")


def _preview_between(place: Place) -> Iterator[Row]:
    """Recorded, replayed, given up for ComfyUI's own work, recorded and replayed again."""
    steps = SMALL if place.small else STEPS
    middle = steps // 2
    ours = make(place.scene(), place.folder / "ours", {"cuda_graphs": True}, checkpointing="off")
    replays: list[int] = []
    record = CudaRecorder.record

    def counted(self: CudaRecorder, work: Any) -> Any:
        replay = record(self, work)

        def run() -> Any:
            replays[-1] += 1
            return replay()

        return run

    def join(live: Any) -> Steps:
        def look(event: Any) -> None:
            if event.step == middle:
                with live.aside():
                    pass
            replays.append(0)

        replays.append(0)
        return Steps(look)

    with mock.patch.object(CudaRecorder, "record", counted):
        result = ours.train(ours.cache(2), ours.config(1, steps), join)
    before, after = sum(replays[:middle]), sum(replays[middle:])
    finite = all(math.isfinite(loss) for loss in result.losses)
    text = f"{before} replays before ComfyUI's own work in step {middle}, {after} after it; losses finite: {finite}"
    yield verdict(finite and (before > 0 < after or not place.is_card), text)
