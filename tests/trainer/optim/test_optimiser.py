import json
import math

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.optim.optimiser import Optimiser, ParameterGroup

SHAPES = [(5, 7), (7,), (6, 4)]
CONFIG = OptimiserConfig(
    learning_rate=0.01, beta1=0.8, beta2=0.95, epsilon=1e-6, weight_decay=0.1, max_grad_norm=2.0
)


def make_parameters():
    rng = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=rng)) for shape in SHAPES]


def make_gradients(step, scale=1.0):
    rng = torch.Generator().manual_seed(100 + step)
    return [scale * torch.randn(shape, generator=rng) for shape in SHAPES]


def loss_with(parameters, gradients):
    """A loss whose gradients are the given ones."""
    return sum((p * g).sum() for p, g in zip(parameters, gradients, strict=True))


class ByHand:
    """AdamW in double precision as in the paper (Loshchilov & Hutter 2019), after clipping."""

    def __init__(self, parameters, config):
        self.values = [p.detach().double() for p in parameters]
        self.first = [torch.zeros_like(v) for v in self.values]
        self.second = [torch.zeros_like(v) for v in self.values]
        self.config, self.count = config, 0

    def step(self, gradients, rate):
        c = self.config
        gradients = [g.double() for g in gradients]
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
        if c.max_grad_norm and norm > c.max_grad_norm:
            gradients = [g * c.max_grad_norm / norm for g in gradients]
        self.count += 1
        for i, g in enumerate(gradients):
            self.first[i] = c.beta1 * self.first[i] + (1 - c.beta1) * g
            self.second[i] = c.beta2 * self.second[i] + (1 - c.beta2) * g**2
            mean = self.first[i] / (1 - c.beta1**self.count)
            square = self.second[i] / (1 - c.beta2**self.count)
            self.values[i] = self.values[i] * (1 - rate * c.weight_decay)
            self.values[i] = self.values[i] - rate * mean / (square.sqrt() + c.epsilon)
        return norm


def assert_same(parameters, by_hand):
    for parameter, value in zip(parameters, by_hand.values, strict=True):
        torch.testing.assert_close(parameter.double(), value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("max_grad_norm", [2.0, 0.0, 1e6], ids=["clipped", "off", "never reached"])
def test_steps_are_adamws_with_clipping(max_grad_norm):
    config = OptimiserConfig(**{**vars(CONFIG), "max_grad_norm": max_grad_norm})
    parameters = make_parameters()
    by_hand, optimiser = ByHand(parameters, config), full(parameters, config)
    for step in range(6):
        rate = 0.01 * (step + 1)
        gradients = make_gradients(step, scale=(3.0, 0.05)[step % 2])
        optimiser.backward(loss_with(parameters, gradients))
        outcome = optimiser.step(rate)
        assert outcome.grad_norm == pytest.approx(by_hand.step(gradients, rate), rel=1e-5)
        assert outcome.applied and not outcome.overflow
        assert_same(parameters, by_hand)


def test_backwards_add_up_until_the_step():
    parameters = make_parameters()
    by_hand, optimiser = ByHand(parameters, CONFIG), full(parameters, CONFIG)
    for step in range(4):
        parts = [make_gradients(10 * step + part) for part in range(3)]
        for part in parts:
            optimiser.backward(loss_with(parameters, part) / 3)
        by_hand.step([sum(three) / 3 for three in zip(*parts, strict=True)], 0.01)
        optimiser.step(0.01)
        assert not any(parameter.grad.any() for parameter in parameters)
        assert_same(parameters, by_hand)


@pytest.mark.parametrize("name", ["AdamW", "AdamW_wd"])
def test_it_is_kohyas_adamw(golden, name):
    run = json.loads((golden / "optimizers.json").read_text())["runs"][name]
    tensors = load_file(golden / "optimizers.safetensors")
    starts = [tensors[f"init.{i}"] for i in range(3)]
    arguments = dict(word.split("=") for word in run["optimizer_args"])
    betas = json.loads(arguments.get("betas", "(0.9, 0.999)").replace("(", "[").replace(")", "]"))
    config = OptimiserConfig(
        learning_rate=run["learning_rate"],
        weight_decay=float(arguments.get("weight_decay", 0.01)),
        epsilon=float(arguments.get("eps", 1e-8)),
        beta1=betas[0],
        beta2=betas[1],
        max_grad_norm=0,
    )
    parameters = [nn.Parameter(start.clone()) for start in starts]
    optimiser = full(parameters, config)
    for step, record in enumerate(run["lr_and_d_after_step"]):
        gradients = [tensors[f"grad.{step:02}.{i}"] for i in range(3)]
        optimiser.backward(loss_with(parameters, gradients))
        optimiser.step(record["lr"])
    for i, parameter in enumerate(parameters):
        torch.testing.assert_close(parameter.detach(), tensors[f"{name}.{i}"], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_gradients_that_are_not_finite_leave_everything_as_it_was(value):
    bad, good = make_parameters(), make_parameters()
    disturbed, undisturbed = (
        full(bad, CONFIG),
        full(good, CONFIG),
    )
    for step in range(4):
        for parameters, optimiser in ((bad, disturbed), (good, undisturbed)):
            optimiser.backward(loss_with(parameters, make_gradients(step)))
            assert optimiser.step(0.01).applied
        gradients = make_gradients(step)
        gradients[1][2] = value
        disturbed.backward(loss_with(bad, gradients))
        outcome = disturbed.step(0.01)
        assert not outcome.applied and not outcome.overflow
        assert not math.isfinite(outcome.grad_norm)
        assert not any(parameter.grad.any() for parameter in bad)
        assert all(torch.equal(a, b) for a, b in zip(bad, good, strict=True))


def test_clear_drops_what_was_accumulated():
    parameters = make_parameters()
    by_hand, optimiser = ByHand(parameters, CONFIG), full(parameters, CONFIG)
    optimiser.backward(loss_with(parameters, make_gradients(0)))
    optimiser.clear()
    optimiser.backward(loss_with(parameters, make_gradients(1)))
    optimiser.step(0.01)
    by_hand.step(make_gradients(1), 0.01)
    assert_same(parameters, by_hand)


def full(parameters, config, **options):
    return Optimiser([ParameterGroup(parameters)], config, **options)


def half(parameters, config=CONFIG):
    return full(parameters, config, compute_dtype=torch.float16)


def test_loss_scaling_of_half_precision_does_not_show():
    parameters = make_parameters()
    by_hand, optimiser = ByHand(parameters, CONFIG), half(parameters)
    for step in range(3):
        for part in range(2):
            optimiser.backward(loss_with(parameters, make_gradients(2 * step + part)))
            assert float(parameters[0].grad.abs().max()) > 1000
        both = zip(make_gradients(2 * step), make_gradients(2 * step + 1), strict=True)
        norm = by_hand.step([a + b for a, b in both], 0.01)
        outcome = optimiser.step(0.01)
        assert outcome.applied and outcome.grad_norm == pytest.approx(norm, rel=1e-5)
        assert_same(parameters, by_hand)


def test_small_gradients_survive_half_precision():
    weight = nn.Parameter(torch.ones(1))
    loss = (weight.half() * torch.tensor([1e-7], dtype=torch.float16)).float().sum() * 1e-2
    loss.backward()
    assert float(weight.grad) == 0
    weight.grad = None
    optimiser = half([weight])
    optimiser.backward(
        (weight.half() * torch.tensor([1e-7], dtype=torch.float16)).float().sum() * 1e-2
    )
    assert optimiser.step(0.01).grad_norm == pytest.approx(1.2e-9, rel=0.2)


def test_an_overflow_of_the_scaled_loss_is_excused_and_mends_itself():
    parameters = make_parameters()
    by_hand, optimiser = ByHand(parameters, CONFIG), half(parameters)
    outcomes = []
    for _ in range(40):
        before = [parameter.detach().clone() for parameter in parameters]
        # Half precision between the loss and the parameters: 65504 is its largest number.
        loss = sum((p.half() * 3.0).float().sum() for p in parameters)
        optimiser.backward(loss)
        outcomes.append(optimiser.step(0.01))
        if outcomes[-1].applied:
            by_hand.step([torch.full(shape, 3.0) for shape in SHAPES], 0.01)
            assert not outcomes[-1].overflow
            break
        assert outcomes[-1].overflow
        assert all(torch.equal(a, b) for a, b in zip(before, parameters, strict=True))
    assert outcomes[-1].applied and 1 < len(outcomes) < 8
    assert_same(parameters, by_hand)


def test_gradients_that_no_scale_can_mend_are_excused_only_at_first():
    parameters = make_parameters()
    optimiser = half(parameters)
    outcomes = []
    for _ in range(20):
        optimiser.backward(loss_with(parameters, make_gradients(0, math.nan)))
        outcomes.append(optimiser.step(0.01))
    assert not any(outcome.applied for outcome in outcomes)
    assert [o.overflow for o in outcomes] == [True] * 16 + [False] * 4
    assert all(torch.equal(a, b) for a, b in zip(parameters, make_parameters(), strict=True))


@pytest.mark.parametrize("make", [full, half], ids=["float32", "float16"])
def test_a_skipped_step_leaves_everything_as_it_was(make):
    parameters = make_parameters()
    by_hand, optimiser = ByHand(parameters, CONFIG), make(parameters, CONFIG)
    for step in range(3):
        optimiser.backward(loss_with(parameters, make_gradients(50 + step)))
        assert not optimiser.skip().applied
        optimiser.backward(loss_with(parameters, make_gradients(step)))
        assert optimiser.step(0.01).applied
        by_hand.step(make_gradients(step), 0.01)
        assert_same(parameters, by_hand)


def test_the_scale_of_half_precision_goes_on():
    first, second = half(make_parameters()), half(make_parameters())
    start = second.state()["scaler"]
    first.backward(
        loss_with(first._parameters, [torch.full_like(p, math.inf) for p in first._parameters])
    )
    assert first.step(0.01).overflow
    lowered = first.state()["scaler"]
    assert lowered["scale"] < start["scale"]
    second.load(first.state())
    assert second.state()["scaler"] == lowered
