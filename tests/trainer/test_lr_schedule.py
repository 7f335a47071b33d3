import dataclasses
import math
from typing import get_args

import pytest
import torch

from pack.trainer.lr_schedule import POLYNOMIAL_END, learning_rate, multiplier, span
from pack.trainer.optimiser_config import LrSchedule, OptimiserConfig

STEPS = 40


def rates(steps=STEPS, **settings):
    config = OptimiserConfig(learning_rate=2e-4, **settings)
    return [learning_rate(config, step, steps) for step in range(steps)]


def torchs(scheduler, steps=STEPS):
    """The rates of one of PyTorch's schedulers."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=2e-4)
    schedule = scheduler(optimiser)
    found = []
    for _ in range(steps):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return found


def test_constant_is_constant():
    assert rates() == [2e-4] * STEPS


@pytest.mark.parametrize(
    ("settings", "scheduler"),
    [
        (
            {"schedule": "cosine"},
            lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, STEPS),
        ),
        (
            {"schedule": "cosine_with_min_lr", "min_lr_ratio": 0.25},
            lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, STEPS, eta_min=0.25 * 2e-4),
        ),
        (
            {"schedule": "cosine_with_restarts", "cycles": 4},
            lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, STEPS // 4),
        ),
        (
            {"schedule": "linear"},
            lambda o: torch.optim.lr_scheduler.LinearLR(o, 1.0, 1e-12, STEPS),
        ),
        (
            {"warmup": 8.0},
            lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda i: min(1.0, i / 8)),
        ),
        (
            {"schedule": "inverse_sqrt", "warmup": 8.0},
            lambda o: torch.optim.lr_scheduler.LambdaLR(
                o, lambda i: i / 8 if i < 8 else (8 / i) ** 0.5
            ),
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_the_rates_are_those_of_pytorch(settings, scheduler):
    assert rates(**settings) == pytest.approx(torchs(scheduler), abs=1e-9 * 2e-4 + 1e-15)


@pytest.mark.parametrize("schedule", sorted(set(get_args(LrSchedule)) - {"warmup_stable_decay"}))
@pytest.mark.parametrize("warmup", [5.0, 0.125])
def test_a_warm_up_climbs_from_zero_and_the_schedule_begins_after_it(schedule, warmup):
    found = rates(schedule=schedule, warmup=warmup)
    assert found[:6] == pytest.approx([2e-4 * i / 5 for i in range(6)])
    if schedule != "inverse_sqrt":
        assert found[5:] == pytest.approx(rates(STEPS - 5, schedule=schedule))


def test_polynomial_ends_at_an_absolute_rate():
    found = rates(schedule="polynomial", power=2.0)
    left = [(1 - i / STEPS) ** 2 for i in range(STEPS)]
    assert found == pytest.approx([(2e-4 - POLYNOMIAL_END) * x + POLYNOMIAL_END for x in left])
    config = OptimiserConfig(learning_rate=2e-4, schedule="polynomial", power=2.0)
    assert learning_rate(config, STEPS + 5, STEPS) == pytest.approx(1e-7)


def test_warmup_stable_decay_has_three_parts():
    found = rates(schedule="warmup_stable_decay", warmup=4, decay_steps=10, min_lr_ratio=0.1)
    assert found[:4] == pytest.approx([2e-4 * (0.1 + 0.9 * i / 4) for i in range(4)])
    assert found[4:31] == [2e-4] * 27
    wave = [0.1 + 0.9 * (1 + math.cos(math.pi * i / 10)) / 2 for i in range(10)]
    assert found[30:] == pytest.approx([2e-4 * x for x in wave])
    config = OptimiserConfig(schedule="warmup_stable_decay", decay_steps=10, min_lr_ratio=0.1)
    assert multiplier(config, STEPS, STEPS) == pytest.approx(0.1)


def test_cosine_cycles_of_min_lr_are_half_waves():
    found = rates(schedule="cosine_with_min_lr", cycles=2, min_lr_ratio=0.1)
    assert found[0] == pytest.approx(2e-4) and found[20] == pytest.approx(2e-5)
    assert found[10] == pytest.approx(0.55 * 2e-4)


@pytest.mark.parametrize("schedule", get_args(LrSchedule))
def test_past_the_end_a_rate_is_neither_negative_nor_larger(schedule):
    config = OptimiserConfig(schedule=schedule, warmup=3, decay_steps=5)
    config = dataclasses.replace(config, min_lr_ratio=0.1)
    assert all(0 <= multiplier(config, step, 20) <= 1 for step in range(26))


@pytest.mark.parametrize(
    ("value", "steps", "expected"),
    [(0, 10, 0), (5, 10, 5), (0.25, 10, 2), (0.99, 10, 9), (1, 9, 1)],
)
def test_a_length_is_steps_or_a_fraction(value, steps, expected):
    assert span(value, steps) == expected
