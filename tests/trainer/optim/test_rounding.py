"""Weights in bf16: right on average, never further than one place, the same to the bit whenever drawn."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from pack.tests.trainer.tiny_cache import make_cache, make_item
from pack.tests.trainer.tiny_run import CONFIG, Run, same
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.optim import rounding
from pack.trainer.optim.optimiser import Optimiser, ParameterGroup
from pack.trainer.optim.rounding import random_bits, rounded
from pack.trainer.training.state import State

ADAFACTOR = ("scale_parameter=False", "relative_step=False", "warmup_init=False")
KINDS = {"AdamW": (), "Adafactor": ADAFACTOR, "Lion": (), "AdamW8bit": ()}
PACKAGES = {"Adafactor": "transformers", "Lion": "lion_pytorch", "AdamW8bit": "bitsandbytes"}
TIMES = 100_000


@pytest.mark.parametrize("value", [1.001, -1.001, 1.0039, -2.7e-5, 3.3e-38, 65280.5, 1e30])
def test_the_mean_is_the_number_and_each_is_one_of_its_neighbours(value):
    values = torch.full((TIMES,), value)
    value = float(values[0])
    toward_zero = float((values[:1].view(torch.int32) & -65536).view(torch.float32))
    place = float(((values[:1].view(torch.int32) & -65536) + 65536).view(torch.float32))
    place -= toward_zero
    found = rounded(values, random_bits(values, 1, 2, 3)).double()
    assert set(found.tolist()) == {toward_zero, toward_zero + place}
    way = (value - toward_zero) / place
    deviation = abs(place) * (way * (1 - way) / TIMES) ** 0.5
    assert abs(float(found.mean()) - value) < 4 * deviation


def test_what_bf16_has_stays():
    numbers = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    numbers = numbers[~numbers.isnan()]
    found = rounded(numbers.float(), random_bits(numbers, 0, 0, 0)).bfloat16()
    assert torch.equal(found.view(torch.int16), numbers.view(torch.int16))
    assert rounded(torch.tensor([torch.nan]), torch.tensor([32767], dtype=torch.int16)).isnan()


def test_bits_are_of_seed_step_and_parameter_and_uniform():
    like = torch.zeros(TIMES)
    first = random_bits(like, 1, 2, 3)
    assert torch.equal(first, random_bits(like, 1, 2, 3))
    for other in ((0, 2, 3), (1, 0, 3), (1, 2, 0)):
        assert float((first == random_bits(like, *other)).float().mean()) < 0.001
    counts = torch.histc(first.float(), bins=16, min=-(2**15), max=2**15)
    assert float(((counts - TIMES / 16) ** 2 / (TIMES / 16)).sum()) < 45  # chi squared, 15: 1e-4


def made(kind, *, at_once=False, dtype=torch.bfloat16, limit=0.0, **more):
    """(layers in bf16, an optimiser of two groups)."""
    if kind in PACKAGES:
        pytest.importorskip(PACKAGES[kind])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)
    config = OptimiserConfig(
        type=kind, arguments=KINDS[kind], learning_rate=1e-2, max_grad_norm=limit, **more
    )
    own = list(layers.parameters())
    groups = [ParameterGroup(own[:3]), ParameterGroup(own[3:], 0.5)]
    return layers, Optimiser(groups, config, at_once=at_once, seed=5)


def step(layers, optimiser, number, spoil=1.0):
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(number))
    optimiser.begin(1e-2, number)
    optimiser.backward(layers(x.to(layers[0].weight.dtype)).float().square().sum() * spoil)
    return optimiser.step(1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_that_of_float32_rounded_and_is_the_same_within_backward(kind):
    """Gradients are what bf16 gives; the step with them is float32's."""
    found = []
    ways = (False, True) if kind in ("AdamW", "Adafactor") else (False,)
    for at_once in ways:
        layers, optimiser = made(kind, at_once=at_once)
        before = [own.detach().float() for own in layers.parameters()]
        outcome = step(layers, optimiser, 1)
        wide = [nn.Parameter(own.clone()) for own in before]
        groups = [ParameterGroup(wide[:3]), ParameterGroup(wide[3:], 0.5)]
        whole = Optimiser(groups, optimiser._config)
        again = copy.deepcopy(layers)
        with torch.no_grad():
            for own, value in zip(again.parameters(), before, strict=True):
                own.copy_(value)
        x = torch.randn(4, 6, generator=torch.Generator().manual_seed(1)).bfloat16()
        grads = torch.autograd.grad(again(x).float().square().sum(), list(again.parameters()))
        for own, grad in zip(wide, grads, strict=True):
            own.grad = grad.float()
        expected = whole.step(1e-2)
        assert outcome.grad_norm == pytest.approx(expected.grad_norm, rel=1e-5)
        for own, value in zip(layers.parameters(), wide, strict=True):
            place = torch.maximum(value.detach().abs() * 2**-7, torch.tensor(1e-30))
            assert own.dtype == torch.bfloat16
            assert bool(((own.detach().float() - value.detach()).abs() <= place).all())
        found.append([own.detach().clone() for own in layers.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(found[0], found[-1], strict=True))


def test_gradients_are_clipped_together():
    layers, optimiser = made("AdamW", limit=1e-3)
    sizes, inner = [], optimiser._inner
    real = inner.step

    def seen():
        sizes.extend(p.grad.square().sum() for group in inner.param_groups for p in group["params"])
        return real()

    inner.step = seen
    assert step(layers, optimiser, 1).grad_norm > 1e-2
    assert len(sizes) == 4 and float(sum(sizes).sqrt()) == pytest.approx(1e-3, rel=0.01)
    assert all(own.grad is None for own in layers.parameters())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at_once", [False, True])
def test_a_state_goes_on_to_the_bit(kind, at_once):
    more = {"ema_decay": 0.9}
    whole, optimiser = made(kind, at_once=at_once, **more)
    for number in (1, 2):
        step(whole, optimiser, number)
        optimiser.average()
    state = copy.deepcopy(optimiser.state())
    weights = {name: value.clone() for name, value in whole.state_dict().items()}
    again, other = made(kind, at_once=at_once, **more)
    again.load_state_dict(weights)
    other.load(state)
    for layers, one in ((whole, optimiser), (again, other)):
        step(layers, one, 3)
        one.average()
    for _ in range(2):
        pairs = list(zip(whole.parameters(), again.parameters(), strict=True))
        assert all(torch.equal(a, b) for a, b in pairs)
        optimiser.finish(), other.finish()  # now their averages


def test_small_steps_are_kept_where_rounding_to_the_nearest_stands_still(monkeypatch):
    """Each step is a quarter of a place: 300 of them are a way of 75 places."""
    found, rate, count = {}, 2**-10, 400
    for name in ("at random", "to the nearest"):
        own = nn.Parameter(torch.full((count,), 0.9, dtype=torch.bfloat16))
        begin = own.detach().clone()
        config = OptimiserConfig(type="SGD", learning_rate=rate, max_grad_norm=0.0)
        optimiser = Optimiser([ParameterGroup([own])], config, seed=1)
        if name == "to the nearest":
            monkeypatch.setattr(rounding, "rounded", lambda values, _: values)
        for number in range(300):
            optimiser.begin(rate, number)
            optimiser.backward(own.float().abs().sum())
            optimiser.step(rate)
        found[name] = own.detach().float()
    assert torch.equal(found["to the nearest"], begin.float())
    deviation = 4 * rate * (300 * 0.25 * 0.75 / count) ** 0.5  # a place, up or not
    moved = float((begin.float() - found["at random"]).mean())
    assert abs(moved - 300 * rate) < 4 * deviation


def test_a_run_learns_where_rounding_to_the_nearest_stands_still(tmp_path, monkeypatch):
    """From changes of 0.05, whose places in bf16 are three times the learning rate apart."""
    cached = make_cache(tmp_path, make_item(0))
    rate = OptimiserConfig(learning_rate=8e-5, weight_decay=0.0)
    lora = LoraConfig(algorithm="full", bf16_weights=True)
    config = dataclasses.replace(CONFIG, steps=16, batch_size=1, lora=lora, optimiser=rate)
    begun = {
        key: torch.where(torch.arange(part.numel()).view(part.shape) % 2 == 0, 0.05, -0.05)
        for key, part in Run(cached, config).network.state_dict().items()
    }
    losses = {}
    for name in ("at random", "to the nearest"):
        if name == "to the nearest":
            monkeypatch.setattr(rounding, "rounded", lambda values, _: values)
        run = Run(cached, config, start=State.beginning(begun))
        losses[name] = torch.tensor(run.go().losses)
    assert same(run.factors, [part.bfloat16() for part in begun.values()])
    gained = (losses["to the nearest"] - losses["at random"]) / losses["to the nearest"]
    assert float(gained[8:].mean()) > 0.005


BF16 = TrainConfig(lora=LoraConfig(algorithm="full", bf16_weights=True))


def test_what_does_not_go_together_is_refused():
    with pytest.raises(ValueError, match="Prodigy looks at all weights at once"):
        dataclasses.replace(BF16, optimiser=OptimiserConfig(type="Prodigy", learning_rate=1.0))
    with pytest.raises(ValueError, match="bf16_weights is for full fine-tuning alone"):
        LoraConfig(bf16_weights=True)
    with pytest.raises(ValueError, match="max_norm shrinks"):
        LoraConfig(algorithm="full", bf16_weights=True, max_norm=1.0)


def test_it_counts_in_the_identity_where_it_is_on():
    plain = TrainConfig(lora=LoraConfig(algorithm="full"))
    assert BF16.identity() != plain.identity()
