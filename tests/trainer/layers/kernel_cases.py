"""Triton's kernels by its interpreter: test_kernels runs this in a process where TRITON_INTERPRET is 1."""

import pytest
import torch

from pack.tests.trainer.layers.random_network import PLAIN, make_network
from pack.tests.trainer.layers.test_attach import reference
from pack.tests.trainer.layers.test_compact import assert_close, gradients
from pack.tests.trainer.layers.test_elementwise import (
    draw,
    true_geglu,
    true_gradient,
    true_norm_silu,
)
from pack.tests.trainer.tiny_unet import MovingWeights, make_unet
from pack.trainer.layers import kernel_choice
from pack.trainer.layers.compact_plan import compact_plan
from pack.trainer.layers.elementwise import EAGER
from pack.trainer.layers.kernels import TRITON, norming

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
WIDTHS = [(1, 1), (3, 37), (2, 1025), (1, 2560), (2, 2, 5120)]
"""Of GEGLU's output: odd ones, one over a block, SDXL's."""
PICTURES = [
    ((1, 4, 1, 2), 2),
    ((2, 6, 33, 40), 2),
    ((1, 20, 4, 4), 2),
]
"""And groups: tiny, over a block, as wide as SDXL's narrowest. Each channel takes the interpreter long."""


def assert_once_rounded(found, truth):
    """Every number is right except for one rounding (the interpreter cuts bfloat16 off), and float32's inside."""
    bound = torch.finfo(found.dtype).eps * truth.abs() + 1e-5 * truth.abs().max()
    assert ((found.double() - truth).abs() <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", WIDTHS)
def test_geglu_and_back(shape, dtype):
    both, grad = draw(*shape[:-1], 2 * shape[-1]), draw(*shape, seed=1)
    truth, given = true_geglu(both), both.to(dtype)
    assert_once_rounded(TRITON.geglu(given), truth)
    of_both, product = TRITON.geglu_backward(grad.to(dtype), given)
    assert_once_rounded(of_both, true_gradient(true_geglu, both, grad))
    assert_once_rounded(product, truth)
    assert torch.equal(given, both.to(dtype)) and of_both.dtype == product.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "groups"), PICTURES)
def test_norm_silu_and_back(shape, groups, dtype):
    x, grad = draw(*shape) * 2 + 1, draw(*shape, seed=1)
    weight, bias = draw(shape[1], seed=2), draw(shape[1], seed=3)
    x = x.to(dtype).double()
    given = x.to(dtype), weight.to(dtype), bias.to(dtype)
    output, *statistics = TRITON.norm_silu(*given, groups, 1e-5)
    assert_once_rounded(output, true_norm_silu(x, weight, bias, groups))
    found = TRITON.norm_silu_backward(grad.to(dtype), *given, tuple(statistics), groups, 1e-5)
    truth = true_gradient(lambda x: true_norm_silu(x, weight, bias, groups), x, grad)
    assert_once_rounded(found, truth)


def test_a_group_may_have_more_channels_than_are_read_by_default(monkeypatch):
    monkeypatch.setattr(norming, "CHANNELS", 2)
    x, ones, zeros = draw(1, 6, 3, 3), torch.ones(6), torch.zeros(6)
    truth = true_norm_silu(x, ones, zeros, 2)
    assert_once_rounded(TRITON.norm_silu(x.float(), ones, zeros, 2, 1e-5)[0], truth)


def test_statistics_are_those_of_pytorch():
    x, weight = draw(1, 4, 33, 40, dtype=torch.float32) + 3, torch.ones(4)
    for ours, theirs in zip(
        TRITON.norm_silu(x, weight, weight, 2, 1e-5), EAGER.norm_silu(x, weight, weight, 2, 1e-5),
        strict=True,
    ):  # fmt: skip
        torch.testing.assert_close(ours, theirs)


def test_a_mean_far_above_the_deviation_costs_no_digits():
    """The variance as the mean square less the squared mean would have none left here."""
    x = (draw(1, 4, 40, 40) * 0.01 + 100).float()
    ones, zeros = torch.ones(4), torch.zeros(4)
    output, *_ = TRITON.norm_silu(x, ones, zeros, 2, 1e-12)
    truth = true_norm_silu(x.double(), ones.double(), zeros.double(), 2, 1e-12)
    torch.testing.assert_close(output.double(), truth, rtol=1e-2, atol=2e-3)


def test_one_colour_alone_stays_finite():
    x, ones = torch.full((1, 4, 5, 5), 7.0), torch.ones(4)
    output, *statistics = TRITON.norm_silu(x, ones, ones, 2, 1e-5)
    found = TRITON.norm_silu_backward(x, x, ones, ones, tuple(statistics), 2, 1e-5)
    assert output.isfinite().all() and found.isfinite().all()


def test_what_does_not_lie_in_a_row_is_handled():
    x = draw(2, 8, 4, 6, dtype=torch.float32).to(memory_format=torch.channels_last)
    weight, bias = draw(8, dtype=torch.float32), draw(8, seed=2, dtype=torch.float32)
    grad = draw(1, 8, 1, 1, seed=1, dtype=torch.float32).expand(2, 8, 4, 6)
    ours, *statistics = TRITON.norm_silu(x, weight, bias, 4, 1e-5)
    theirs, *_ = EAGER.norm_silu(x, weight, bias, 4, 1e-5)
    torch.testing.assert_close(ours, theirs)
    arguments = x, weight, bias, tuple(statistics), 4, 1e-5
    torch.testing.assert_close(
        TRITON.norm_silu_backward(grad, *arguments), EAGER.norm_silu_backward(grad, *arguments)
    )
    both, of = draw(6, 8, dtype=torch.float32).T, draw(3, 8, seed=1, dtype=torch.float32).T
    torch.testing.assert_close(TRITON.geglu(both), EAGER.geglu(both))
    for ours, theirs in zip(
        TRITON.geglu_backward(of.clone(), both), EAGER.geglu_backward(of.clone(), both), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_gradients_are_those_of_plain_autograd():
    unet = make_unet()
    network = make_network(unet, PLAIN)
    plan = compact_plan(unet, network, MovingWeights(), elementwise=TRITON)
    assert_close(gradients(unet, network, plan), reference(unet, network))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_check_before_a_run_passes(dtype):
    kernel_choice.check(TRITON, CPU, dtype)


@pytest.mark.parametrize("name", TRITON._fields)
def test_the_check_before_a_run_sees_a_wrong_function(name):
    def wrong(*arguments):
        found = getattr(TRITON, name)(*arguments)
        return found * 1.2 if isinstance(found, torch.Tensor) else (found[0] * 1.2, *found[1:])

    with pytest.raises(RuntimeError, match="do not agree"):
        kernel_choice.check(TRITON._replace(**{name: wrong}), CPU, torch.bfloat16)
