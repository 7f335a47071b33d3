"""Ways of training a LoRA that are compared: what all have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn

from ..data.scene import Scene

LEARNING_RATE = 1e-4
MAX_GRAD_NORM = 1.0


class Watch(Protocol):
    """Told of the steps of a way, in the process that does them."""

    def step(self) -> None:
        """Called after every step, its optimiser's part included."""
        ...


class Way(Protocol):
    """A way of training the LoRA of a scene."""

    def run(self, batch: int, steps: int, watch: Watch) -> None:
        """Train from scratch for so many steps of ``batch`` images."""
        ...

    def weights(self) -> Iterable[Tensor]:
        """All weights, frozen and trained, of the run that is under way."""
        ...


class Clock:
    """A watch that takes the seconds of the steps in the middle of a training: wall clock and CPU time.

    What begins a run is in its first step, what ends it (saving its state) in its last, so both are
    left out: a run of n steps gives n - 2.
    """

    def __init__(self) -> None:
        self._at: list[tuple[float, float]] = []

    def step(self) -> None:
        """A step is done."""
        self._at.append((time.perf_counter(), time.process_time()))

    @property
    def seconds(self) -> list[float]:
        return self._differences(0)

    @property
    def cpu(self) -> list[float]:
        return self._differences(1)

    def _differences(self, place: int) -> list[float]:
        at = [moment[place] for moment in self._at[:-1]]
        return [after - before for before, after in pairwise(at)]


Predict = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(x_t [B, 4, h, w], timesteps [B], context [B, T, C], y [B, Y]) -> the prediction."""


def train_plainly(
    scene: Scene,
    predict: Predict,
    parameters: list[nn.Parameter],
    batch: int,
    steps: int,
    watch: Watch,
    *,
    autocast: bool = False,
    noisy_requires_grad: bool = False,
) -> None:
    """The loop of trainers that are scripts: noise, forward, loss, backward, clip, AdamW, the loss read back.

    autocast: to the scene's dtype, as accelerate does it for mixed precision. noisy_requires_grad: for
    checkpoints of the old kind, which need an input with a gradient.
    """
    together = scene.as_on_card
    x, timesteps, context, y = scene.inputs(batch)
    optimiser = torch.optim.AdamW(parameters, lr=LEARNING_RATE, fused=together)
    kind = scene.device.type
    enabled = autocast and scene.dtype != torch.float32
    for _ in range(steps):
        noise = torch.randn_like(x)
        noisy = (x + noise).requires_grad_(noisy_requires_grad)
        with torch.autocast(kind, scene.dtype, enabled=enabled):
            answer = predict(noisy, timesteps, context, y)
        loss = (answer.float() - noise.float()).square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, MAX_GRAD_NORM, foreach=together or None)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        _check(loss.item())
        watch.step()


def _check(loss: float) -> None:
    """A step whose loss is not finite may be faster than a good one. Raises ArithmeticError."""
    if not abs(loss) < float("inf"):
        raise ArithmeticError(f"The loss is {loss}: nothing that this way does may be timed.")
