"""Ways of training a LoRA that are compared: what all have in common."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
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


def paired(one: Way, other: Way, batch: int, steps: int) -> float:
    """The CPU time of a step of ``one`` relative to ``other``: the median over pairs of steps.

    Both train at the same time and take turns step by step, so that a machine whose speed changes is
    as fast for one as for the other. One of them at most may be ours.
    """
    turns = [_Turns(), _Turns()]
    for turn, following in zip(turns, reversed(turns), strict=True):
        turn.following = following
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(turn.run, way, batch, steps)
            for turn, way in zip(turns, (one, other), strict=True)
        ]
        turns[0].may_go.release()
        for run in runs:
            run.result()
    ours, theirs = (turn.seconds[1:-1] for turn in turns)
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


class _Turns:
    """A watch that lets another way do a step after each of its own."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.may_go = threading.Semaphore(0)
        self.following = self
        self._since = 0.0

    def run(self, way: Way, batch: int, steps: int) -> None:
        """Train when it is its turn."""
        self.may_go.acquire()
        self._since = time.process_time()
        try:
            way.run(batch, steps, self)
        finally:
            self.following.may_go.release()

    def step(self) -> None:
        """A step is done."""
        self.seconds.append(time.process_time() - self._since)
        self.following.may_go.release()
        self.may_go.acquire()
        self._since = time.process_time()


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
