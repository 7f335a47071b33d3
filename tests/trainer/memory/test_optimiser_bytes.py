import dataclasses
import gc

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_map

from pack.bench.counted.alive import Following
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.memory.optimiser_bytes import learned_bytes, update_bytes
from pack.trainer.optim.optimiser import Optimiser, ParameterGroup

SHAPES = [(32, 1280), (1280, 32), (32, 640), (32, 640)]
COUNT = sum(a * b for a, b in SHAPES)


def each(kind="AdamW", **settings):
    """Bytes for each parameter."""
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in SHAPES]
    return learned_bytes(OptimiserConfig(type=kind, **settings), parameters) / COUNT


@pytest.mark.parametrize(
    ("kind", "kept"),
    [("AdamW", 2), ("SGD", 0), ("Adagrad", 1), ("ASGD", 1), ("Rprop", 2), ("Lion", 1),
     ("Prodigy", 4), ("AdamWScheduleFree", 2), ("SGDScheduleFree", 1), ("SGDNesterov", 1)],
)  # fmt: skip
def test_weight_gradient_and_what_the_optimiser_keeps(kind, kept):
    """Of each parameter so many float32 beside itself and its gradient."""
    assert each(kind) == 8 + 4 * kept


def test_a_moving_average_is_one_more():
    assert each(ema_decay=0.99) == each() + 4


def test_arguments_count():
    assert each(arguments=("amsgrad=True",)) == each() + 4
    assert each("SGD", arguments=("momentum=0.9",)) == each("SGD") + 4


def test_within_backward_only_the_largest_has_a_gradient():
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in SHAPES]
    learned = learned_bytes(OptimiserConfig(), parameters, at_once=True)
    assert learned == 12 * COUNT + 4 * 32 * 1280  # weights and two states; a gradient
    assert update_bytes(OptimiserConfig(), parameters, on_cuda=True, at_once=True) == 0


def test_adafactor_keeps_rows_and_columns():
    pytest.importorskip("transformers")
    rows_and_columns = sum(a + b for a, b in SHAPES)
    assert each("Adafactor") == 8 + 4 * rows_and_columns / COUNT


def test_eight_bits_are_a_quarter():
    pytest.importorskip("bitsandbytes")
    assert 8 + 2 <= each("AdamW8bit") < 8 + 2.2


def test_nothing_is_drawn_and_nothing_changed():
    parameter = nn.Parameter(torch.ones(3, 3))
    before = torch.get_rng_state()
    learned_bytes(OptimiserConfig(), [parameter])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(parameter, torch.ones(3, 3)) and parameter.grad is None


def test_in_bf16_weight_and_gradient_are_half_and_states_whole():
    parameters = [nn.Parameter(torch.zeros(shape, dtype=torch.bfloat16)) for shape in SHAPES]
    assert learned_bytes(OptimiserConfig(ema_decay=0.9), parameters) == (2 + 2 + 8 + 4) * COUNT
    learned = learned_bytes(OptimiserConfig(), parameters, at_once=True)
    assert learned == (2 + 8) * COUNT + 4 * 32 * 1280


def most_at_steps(config, on_cuda, dtype=torch.float32):
    """Bytes at the most while the optimiser steps: at first, later, and first after a restart."""
    if on_cuda:
        config = dataclasses.replace(config, arguments=("fused=True",))
    with Following() as following:
        parameters = [nn.Parameter(torch.full((64, 256), 0.1, dtype=dtype)) for _ in range(60)]

        def step(optimiser):
            for parameter in parameters:
                optimiser.backward(parameter.sum())
            following.peak = following.now
            optimiser.clip()
            optimiser.step(1e-3, 1.0)
            optimiser.average()
            return following.peak

        def begun():
            return Optimiser([ParameterGroup(parameters)], config)

        optimiser = begun()
        most = max(step(optimiser), step(optimiser))
        state = copied(optimiser.state())
        del optimiser
        gc.collect()
        optimiser = begun()
        optimiser.load(state)
        del state
        return max(most, step(optimiser), step(optimiser)), parameters


def copied(state):
    """As it comes from disk: tensors of their own."""
    return tree_map(lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, state)


@pytest.mark.parametrize(
    ("kind", "on_cuda"),
    [("AdamW", True), ("Adam", False), ("Lion", False), ("SGD", False), ("Adagrad", False),
     ("Rprop", False), ("Adadelta", False), ("AdamWScheduleFree", False)],
)  # fmt: skip
def test_the_optimisers_steps_need_no_more_than_is_said(kind, on_cuda):
    """Neither a first step, nor a later one, nor the first of a continued run."""
    config = OptimiserConfig(type=kind, ema_decay=0.0 if "Free" in kind else 0.9)
    most, parameters = most_at_steps(config, on_cuda)
    said = learned_bytes(config, parameters) + update_bytes(config, parameters, on_cuda=on_cuda)
    assert most <= 1.01 * said


@pytest.mark.parametrize("kind", ["AdamW", "SGD", "Lion", "Rprop", "Adafactor"])
def test_a_step_of_weights_in_bf16_needs_no_more_than_is_said(kind):
    if kind == "Adafactor":
        pytest.importorskip("transformers")
    config = OptimiserConfig(type=kind, ema_decay=0.9)
    most, parameters = most_at_steps(config, False, torch.bfloat16)
    learned = learned_bytes(config, parameters)
    assert learned < most <= learned + update_bytes(config, parameters, on_cuda=False)
