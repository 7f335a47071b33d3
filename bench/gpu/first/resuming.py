"""A run that is broken off and goes on, against one that is not, and against a repetition of that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch

from ...peers.ours import Ours
from .verdicts import Place, Row, measured, verdict
from .watching import Steps

STEPS, SMALL = 12, 4
"""Of a run, which is broken off in the middle."""
TIMES = 3.0
"""A run that went on may be so many times as far from the straight one as its repetition is."""


class _Broken(RuntimeError):
    """As when the process is cancelled."""


def check(place: Place) -> Iterator[Row]:
    """Twice straight through, and twice broken off: bit for bit on a CPU."""
    ours = Ours(place.scene(), place.folder / "ours", compact=True, checkpointing="off")
    steps = SMALL if place.small else STEPS
    straight, again = (_run(ours, steps, broken=False) for _ in range(2))
    spread = _distance(again, straight)
    yield measured(
        f"the same run twice: LoRA off by {spread[0]:.1e}, last loss by {spread[1]:.1e}",
        lora=spread[0],
        loss=spread[1],
    )
    for number in (1, 2):
        lora, loss = _distance(_run(ours, steps, broken=True), straight)
        text = (
            f"broken off and resumed, run {number}: LoRA off by {lora:.1e}, last loss by {loss:.1e}"
        )
        good = lora <= TIMES * spread[0] and loss <= TIMES * max(spread[1], spread[0])
        yield verdict(good, text, lora=lora, loss=loss)


def _run(ours: Ours, steps: int, *, broken: bool) -> Any:
    """The Result of a run of its own."""
    cached, config = ours.cache(2), ours.config(1, steps)

    def look(event: Any) -> None:
        if event.step == steps // 2:
            raise _Broken

    if broken:
        with suppress(_Broken):
            ours.train(cached, config, Steps(look).join)
    return ours.train(cached, config)


def _distance(result: Any, straight: Any) -> tuple[float, float]:
    """Relative, of the LoRAs and of the last losses."""
    square = norm = torch.zeros((), dtype=torch.float64)
    for key, other in straight.lora.items():
        square = square + (result.lora[key].double() - other.double()).square().sum()
        norm = norm + other.double().square().sum()
    loss = abs(result.losses[-1] - straight.losses[-1]) / abs(straight.losses[-1])
    return float((square / norm).sqrt()), loss
