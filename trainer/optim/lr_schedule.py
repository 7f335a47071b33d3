"""Learning-rate schedules as pure functions of the optimiser step (kohya's list and quirks).

A multiplier of the base learning rate in force for step i, counted from 0. A warm-up starts at 0,
so the first step of one moves nothing, as in kohya.
"""

from __future__ import annotations

import math

from ..config.optimiser import OptimiserConfig, Shape
from ..config.piecewise import parse_step_rules

TIMESCALE = 10_000
"""Of `inverse_sqrt` with neither a timescale nor a warm-up (transformers' default)."""


def span(value: float, steps: int) -> int:
    """Resolve a length given in steps (1 or more) or as a fraction of all steps (below 1)."""
    return int(value * steps) if value < 1 else int(value)


def multiplier(config: OptimiserConfig, step: int, steps: int) -> float:
    """The multiplier of the learning rate for `step` of `steps`."""
    if not config.follows_schedule:
        return 1.0
    if config.schedule == "piecewise_constant":
        return parse_step_rules(config.step_rules).factor(step)
    warmup = span(config.warmup, steps)
    if config.schedule == "warmup_stable_decay":
        return _warmup_stable_decay(config, step, warmup, steps)
    if step < warmup:
        return step / max(1, warmup)
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "inverse_sqrt":
        timescale = config.timescale or warmup or TIMESCALE
        return 1.0 / math.sqrt((step + timescale - warmup) / timescale)
    progress = (step - warmup) / max(1, steps - warmup)
    return _decay(config, progress)


def learning_rate(config: OptimiserConfig, step: int, steps: int) -> float:
    """The learning rate in force for optimiser step `step` (from 0) of `steps`."""
    return config.learning_rate * multiplier(config, step, steps)


def _decay(config: OptimiserConfig, progress: float) -> float:
    if config.schedule == "linear":
        return max(0.0, 1.0 - progress)
    if config.schedule == "cosine":
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))
    if config.schedule == "cosine_with_min_lr":
        wave = 0.5 * (1.0 + math.cos(math.pi * progress * config.cycles))
        return max(0.0, wave * (1 - config.min_lr_ratio) + config.min_lr_ratio)
    if config.schedule == "cosine_with_restarts":
        if progress >= 1.0:
            return 0.0
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * ((config.cycles * progress) % 1.0))))
    end = config.end_rate / config.learning_rate
    return (1.0 - end) * (1.0 - min(1.0, progress)) ** config.power + end


def _warmup_stable_decay(config: OptimiserConfig, step: int, warmup: int, steps: int) -> float:
    floor = config.min_lr_ratio
    decay = span(config.decay_steps, steps)
    stable = steps - warmup - decay
    if step < warmup:
        return _rise(config.warmup_shape, step / warmup) * (1 - floor) + floor
    if step < warmup + stable:
        return 1.0
    if step < warmup + stable + decay:
        progress = (step - warmup - stable) / max(1, decay)
        return _fall(config.decay_shape, progress, config.cycles) * (1 - floor) + floor
    return floor


def _rise(shape: Shape, progress: float) -> float:
    return progress if shape == "linear" else _fall(shape, 1.0 - progress)


def _fall(shape: Shape, progress: float, cycles: int = 1) -> float:
    """From 1 at progress 0 to 0 at 1; a cosine falls and rises again with every second half-wave."""
    if shape == "linear":
        return 1.0 - progress
    if shape == "1-sqrt":
        return 1.0 - math.sqrt(progress)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress * cycles)))
