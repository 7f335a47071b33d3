import dataclasses
import math
from typing import get_args

import pytest
import torch
from transformers import optimization

from pack.trainer.config.optimiser import LrSchedule, OptimiserConfig
from pack.trainer.config.optimisers import SCHEDULE_FREE
from pack.trainer.optim.lr_schedule import learning_rate, multiplier, span

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


CLIMBING = sorted(set(get_args(LrSchedule)) - {"warmup_stable_decay", "piecewise_constant"})


@pytest.mark.parametrize("schedule", CLIMBING)
@pytest.mark.parametrize("warmup", [5.0, 0.125])
def test_a_warm_up_climbs_from_zero_and_the_schedule_begins_after_it(schedule, warmup):
    found = rates(schedule=schedule, warmup=warmup)
    assert found[:6] == pytest.approx([2e-4 * i / 5 for i in range(6)])
    if schedule != "inverse_sqrt":
        assert found[5:] == pytest.approx(rates(STEPS - 5, schedule=schedule))


def test_polynomial_ends_at_an_absolute_rate():
    found = rates(schedule="polynomial", power=2.0)
    left = [(1 - i / STEPS) ** 2 for i in range(STEPS)]
    assert found == pytest.approx([(2e-4 - 1e-7) * x + 1e-7 for x in left])
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
    config = OptimiserConfig(schedule=schedule, warmup=3, decay_steps=5, step_rules="1:9,0.5")
    config = dataclasses.replace(config, min_lr_ratio=0.1)
    assert all(0 <= multiplier(config, step, 20) <= 1 for step in range(26))


@pytest.mark.parametrize(
    ("value", "steps", "expected"),
    [(0, 10, 0), (5, 10, 5), (0.25, 10, 2), (0.99, 10, 9), (1, 9, 1)],
)
def test_a_length_is_steps_or_a_fraction(value, steps, expected):
    assert span(value, steps) == expected


TRANSFORMERS = [
    ("linear", {}, {}),
    ("cosine", {}, {}),
    ("cosine_with_restarts", {"cycles": 3}, {"num_cycles": 3}),
    ("polynomial", {"power": 2, "end_rate": 3e-6}, {"power": 2, "lr_end": 3e-6}),
    ("inverse_sqrt", {}, {}),
    ("inverse_sqrt", {"timescale": 20}, {"timescale": 20}),
    (
        "cosine_with_min_lr",
        {"cycles": 3, "min_lr_ratio": 0.2},
        {"num_cycles": 1.5, "min_lr_rate": 0.2},
    ),
    *(
        (
            "warmup_stable_decay",
            {"cycles": cycles, "min_lr_ratio": 0.1, "decay_steps": 12, "warmup_shape": up, "decay_shape": down},
            {"num_cycles": cycles / 2, "min_lr_ratio": 0.1, "num_decay_steps": 12, "warmup_type": up, "decay_type": down},
        )
        for cycles, up, down in [(1, "linear", "cosine"), (3, "cosine", "cosine"), (1, "1-sqrt", "linear"), (1, "linear", "1-sqrt")]
    ),
]  # fmt: skip
"""Schedule, our settings, what kohya gives transformers for them."""


@pytest.mark.parametrize(("schedule", "ours", "theirs"), TRANSFORMERS)
@pytest.mark.parametrize("warmup", [0, 7])
def test_the_rates_are_those_of_transformers(schedule, ours, theirs, warmup):
    """Whose functions kohya calls."""
    make = optimization.TYPE_TO_SCHEDULER_FUNCTION[optimization.SchedulerType(schedule)]
    if schedule != "inverse_sqrt":
        theirs = {**theirs, "num_training_steps": STEPS}
    expected = torchs(lambda optimiser: make(optimiser, num_warmup_steps=warmup, **theirs))
    assert rates(schedule=schedule, warmup=warmup, **ours) == pytest.approx(expected, abs=1e-15)


def test_rules_hold_up_to_their_steps_in_any_order_and_know_no_warm_up():
    """As diffusers' piecewise_constant: a factor holds while the step is below its number."""
    expected = [2e-4] * 10 + [2e-5] * 10 + [2e-6] * 10 + [1e-6] * 10
    for rules in ("1:10,0.1:20,0.01:30,0.005", "0.01:30, 1:10, 0.1:20, 0.005"):
        assert rates(schedule="piecewise_constant", step_rules=rules, warmup=5) == pytest.approx(
            expected
        )
    assert rates(schedule="piecewise_constant", step_rules="0.5") == [1e-4] * STEPS


@pytest.mark.parametrize("kind", sorted(SCHEDULE_FREE))
def test_schedule_free_optimisers_keep_one_rate(kind):
    """kohya gives them a scheduler that does nothing."""
    assert rates(type=kind, schedule="cosine", warmup=5) == [2e-4] * STEPS
    config = OptimiserConfig(type=kind, learning_rate=1.0, schedule="cosine", warmup=0.5)
    assert not config.needs_horizon
    assert config.notes() == [
        f"{kind} goes without learning-rate schedule and warm-up, as in kohya: yours do nothing. Some "
        "have a warm-up among their arguments (warmup_steps=100)."
    ]
    assert not OptimiserConfig(type=kind, learning_rate=1.0).notes()
