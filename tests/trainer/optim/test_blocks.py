"""bitsandbytes' kinds over one buffer: its own steps to the bit, in a few calls, with its own states."""

import io
import math

import pytest
import torch
from torch import nn

from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.optimiser_factory import make_optimiser
from pack.trainer.config.optimisers import KINDS
from pack.trainer.memory.optimiser_bytes import learned_bytes
from pack.trainer.optim import optimiser as module
from pack.trainer.optim.flat import Single
from pack.trainer.optim.optimiser import Optimiser, ParameterGroup

bitsandbytes = pytest.importorskip("bitsandbytes")
functional = bitsandbytes.functional

NAMES = [name for name, kind in KINDS.items() if kind.package == "bitsandbytes"]
SHAPES = [(64, 80), (8, 4), (4097,), (10, 700), (4095,), (17, 3, 3, 31), (1,), (4096,), (60, 100)]
"""Whole blocks and begun ones, of 8 bits (4096 numbers and more) and of 32, among each other."""
CALLS = ("optimizer_update_8bit_blockwise", "optimizer_update_32bit")
RATE = 0.01


def make_parameters(shapes=SHAPES):
    rng = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=rng)) for shape in shapes]


def make(name, parameters, arguments=()):
    """Three groups: as they are, at another rate, without decay."""
    config = OptimiserConfig(
        type=name, learning_rate=RATE, max_grad_norm=0.0, arguments=tuple(arguments)
    )
    third = math.ceil(len(parameters) / 3)
    parts = [parameters[first : first + third] for first in range(0, len(parameters), third)]
    settings = ((1.0, True), (16.0, True), (0.5, False))
    groups = [ParameterGroup(part, *own) for part, own in zip(parts, settings, strict=False)]
    return Optimiser(groups, config)


def one_by_one(monkeypatch, name, parameters, arguments=()):
    """As bitsandbytes steps: what this module is measured by."""
    with monkeypatch.context() as plant:
        plant.setattr(module, "_seen_as", lambda kind: Single)
        return make(name, parameters, arguments)


def gradient(parameter, step, place):
    """Large and tiny ones in turn, some 0, and at some steps all of them."""
    rng = torch.Generator().manual_seed(1000 * step + place)
    found = torch.randn(parameter.shape, generator=rng) * 10.0 ** (-2 * (step % 4))
    return found * (found > 0) * (step % 5 != place)


def go(optimiser, parameters, steps):
    for step in steps:
        pulls = [(p * gradient(p, step, i)).sum() for i, p in enumerate(parameters)]
        optimiser.backward(sum(pulls))
        assert optimiser.step(RATE).applied


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def assert_same(one, other):
    """Down to the kind of each value and every bit."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert one == other


@pytest.mark.parametrize(
    ("name", "arguments"),
    [(name, ()) for name in NAMES]
    + [
        ("AdamW8bit", ["min_8bit_size=1"]),
        ("AdamW8bit", ["min_8bit_size=10000", "weight_decay=0.3"]),
        ("PagedAdamW", ["optim_bits=8"]),
        ("AdEMAMix8bit", ["t_alpha=10", "t_beta3=10", "weight_decay=0.0"]),
    ],
)
def test_the_bits_are_those_of_tensor_by_tensor(name, arguments, monkeypatch):
    """Parameters and states, with what is saved in between: by the one for the other, as runs before left it."""
    ours, theirs = make_parameters(), make_parameters()
    flat = make(name, ours, arguments)
    single = one_by_one(monkeypatch, name, theirs, arguments)
    go(flat, ours, range(6))
    go(single, theirs, range(6))
    assert_same([p.data for p in ours], [p.data for p in theirs])
    assert_same(flat.state(), single.state())
    for one, other in ((flat, single), (single, flat)):
        one.load(through_a_file(other.state()))
    go(flat, ours, range(6, 9))
    go(single, theirs, range(6, 9))
    assert_same([p.data for p in ours], [p.data for p in theirs])
    assert_same(through_a_file(flat.state()), through_a_file(single.state()))


class TooMany(AssertionError):
    pass


def check_calls(optimiser, parameters, monkeypatch):
    """Refuses more than one call for each group and kind of state."""
    found = []
    for name in CALLS:
        call = getattr(functional, name)
        counted = lambda *args, own=call, **kwargs: (found.append(1), own(*args, **kwargs))  # noqa: E731
        monkeypatch.setattr(functional, name, counted)
    go(optimiser, parameters, [1])
    if len(found) > 6:
        raise TooMany(f"{len(found)} calls for three groups of two kinds")
    return len(found)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_a_call_for_each_group_and_kind_of_state(name, monkeypatch):
    parameters = make_parameters(SHAPES * 3)
    optimiser = make(name, parameters)
    go(optimiser, parameters, [0])
    assert check_calls(optimiser, parameters, monkeypatch) == (6 if name.endswith("8bit") else 3)


def test_tensor_by_tensor_is_refused(monkeypatch):
    """The planted fault: the calls are counted where bitsandbytes steps as it does by itself."""
    parameters = make_parameters(SHAPES * 3)
    optimiser = one_by_one(monkeypatch, "AdamW8bit", parameters)
    with pytest.raises(TooMany, match="27 calls"):
        check_calls(optimiser, parameters, monkeypatch)


def test_an_older_bitsandbytes_steps_tensor_by_tensor(monkeypatch):
    """It could clip and quantise whole tensors, and had larger blocks once."""

    class Older(bitsandbytes.optim.AdamW8bit):
        def __init__(self, *args, block_wise=True, **kwargs):
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(bitsandbytes.optim, "AdamW8bit", Older)
    parameters = make_parameters()
    optimiser = make("PagedAdamW8bit", parameters)
    with pytest.raises(TooMany):
        check_calls(optimiser, parameters, monkeypatch)


def test_what_a_gradient_reaches_late_begins_then(monkeypatch):
    ours, theirs = make_parameters(), make_parameters()
    flat, single = make("AdamW8bit", ours), one_by_one(monkeypatch, "AdamW8bit", theirs)
    for reached, steps in ((4, range(3)), (9, range(3, 9))):
        go(flat, ours[:reached], steps)
        go(single, theirs[:reached], steps)
    assert_same([p.data for p in ours], [p.data for p in theirs])
    assert_same(flat.state(), single.state())


def test_a_run_ends_where_a_kernel_could_not_count_any_more(monkeypatch):
    from pack.trainer.optim import blocks

    monkeypatch.setattr(blocks, "_FURTHEST", 10_000)
    ours, theirs = make_parameters(), make_parameters()
    flat, single = make("AdamW8bit", ours), one_by_one(monkeypatch, "AdamW8bit", theirs)
    go(flat, ours, range(3))
    go(single, theirs, range(3))
    assert_same([p.data for p in ours], [p.data for p in theirs])
    sizes = [p.numel() for group in flat._inner.param_groups for p in group["params"]]
    assert len(sizes) > 6 and max(sizes) < 20_000


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shapes", [SHAPES, [(1280, 32), (32, 1280), (640, 8)] * 2])
def test_the_plan_counts_what_is_held(name, shapes):
    """With what fills up blocks: not less, and more by tables of 2 KiB for each tensor at most."""
    parameters = make_parameters(shapes)
    optimiser = make(name, parameters)
    go(optimiser, parameters, range(2))
    joined = [p for group in optimiser._inner.param_groups for p in group["params"]]
    held = sum(p.numel() * 8 for p in joined)
    held += sum(
        value.nbytes
        for p in joined
        for key, value in optimiser._inner.state[p].items()
        if isinstance(value, torch.Tensor) and not key.startswith("qmap")
    )
    planned = learned_bytes(OptimiserConfig(type=name), parameters)
    assert held <= planned <= held + 2048 * len(shapes) + 64


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("Paged")])
def test_no_state_is_paged_on_a_card(name):
    """bitsandbytes has nothing that gives managed memory back."""
    groups = [{"params": make_parameters(), "lr": RATE}]
    made = make_optimiser(name, groups, RATE, {}, torch.device("cuda"))
    assert not made.is_paged
