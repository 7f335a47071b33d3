"""Parameters that are stepped within backward: the same numbers, and one gradient at a time."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.speed import SpeedConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.optim.optimiser import Optimiser, ParameterGroup

ADAFACTOR = ("scale_parameter=False", "relative_step=False", "warmup_init=False")
KINDS = {"AdamW": (), "Adafactor": ADAFACTOR, "AdamW8bit": ()}


def made(kind, at_once, limit=0.0):
    """(layers, an optimiser of two groups)."""
    if kind == "AdamW8bit":
        pytest.importorskip("bitsandbytes")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Sequential(
            nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3)
        )
    config = OptimiserConfig(
        type=kind, arguments=KINDS[kind], learning_rate=1e-2, max_grad_norm=limit
    )
    own = list(layers.parameters())
    groups = [ParameterGroup(own[:3]), ParameterGroup(own[3:], 0.5)]
    return layers, Optimiser(groups, config, at_once=at_once)


def step(layers, optimiser, number, spoil=1.0):
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(number))
    optimiser.begin(1e-2 * number, number)
    optimiser.backward(layers(x).square().sum() * spoil)
    return optimiser.step(1e-2 * number)


@pytest.mark.parametrize("kind", KINDS)
def test_without_clipping_the_numbers_are_those_of_whole_steps(kind):
    found = []
    for at_once in (False, True):
        layers, optimiser = made(kind, at_once)
        outcomes = [step(layers, optimiser, number) for number in (1, 2, 3)]
        found.append((layers, [(o.grad_norm, o.learning_rate) for o in outcomes]))
    for one, other in zip(*(layers.parameters() for layers, _ in found), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_one_gradient_is_there_at_a_time():
    layers, optimiser = made("Adafactor", True)
    alive = []
    for own in layers.parameters():
        own.register_hook(
            lambda _: alive.append(sum(p.grad is not None for p in layers.parameters()))
        )
    step(layers, optimiser, 1)
    assert len(alive) == 6 and max(alive) <= 1
    assert all(own.grad is None for own in layers.parameters())


def test_each_gradient_is_clipped_by_its_own_norm():
    layers, optimiser = made("AdamW", True, limit=1e-3)
    sizes, inner = [], optimiser._inner
    real = inner.step

    def seen():
        (own,) = (p for group in inner.param_groups for p in group["params"])
        sizes.append(float(own.grad.norm()))
        return real()

    inner.step = seen
    outcome = step(layers, optimiser, 1)
    assert sizes == pytest.approx([1e-3] * 6, rel=0.01) and outcome.grad_norm > 1e-2


def test_gradients_that_are_not_finite_change_nothing_much_and_are_told():
    layers, optimiser = made("AdamW", True)
    step(layers, optimiser, 1)
    outcome = step(layers, optimiser, 2, spoil=float("nan"))
    assert not outcome.applied
    assert all(bool(own.isfinite().all()) for own in layers.parameters())


def test_a_state_goes_on_as_if_nothing_had_happened():
    whole, optimiser = made("Adafactor", True)
    for number in (1, 2):
        step(whole, optimiser, number)
    state, weights = (
        copy.deepcopy(optimiser.state()),
        {k: v.clone() for k, v in whole.state_dict().items()},
    )
    again, other = made("Adafactor", True)
    again.load_state_dict(weights)
    other.load(state)
    for layers, one in ((whole, optimiser), (again, other)):
        step(layers, one, 3)
    assert all(
        torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True)
    )


def test_fp16_is_refused():
    with pytest.raises(ValueError, match="computes in fp16"):
        Optimiser(
            [ParameterGroup([nn.Parameter(torch.ones(2))])], OptimiserConfig(),
            compute_dtype=torch.float16, at_once=True,
        )  # fmt: skip


FUSED = TrainConfig(lora=LoraConfig(algorithm="full", fused_backward=True))
REFUSED = {
    "fused_backward goes with Adafactor, AdamW and AdamW8bit, not with Lion": {
        "optimiser": OptimiserConfig(type="Lion", learning_rate=1e-5)
    },
    "set accumulation \\(2\\) to 1": {"accumulation": 2},
    "one backward a step and preservation": {"loss": LossConfig(preservation=1.0)},
    "turn it off, or cuda_graphs of Speed": {"speed": SpeedConfig(cuda_graphs=True)},
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_does_not_go_together_is_refused(sentence):
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(FUSED, **REFUSED[sentence])
    with pytest.raises(ValueError, match="fused_backward is for full fine-tuning alone"):
        LoraConfig(fused_backward=True)
