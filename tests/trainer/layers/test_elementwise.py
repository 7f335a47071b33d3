"""PyTorch's side of what lies between the matrix products, against plain autograd in double precision."""

import pytest
import torch
import torch.nn.functional as F

from pack.trainer.layers.elementwise import EAGER

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def draw(*shape, seed=0, dtype=torch.float64):
    """Numbers that every dtype holds exactly."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=rng).bfloat16().to(dtype)


def assert_rounded(found, truth, passes=4):
    """Off by no more than so many roundings to the dtype of found, of the largest number there."""
    bound = passes * torch.finfo(found.dtype).eps * float(truth.abs().max())
    assert float((found.double() - truth).abs().max()) <= max(bound, 1e-12)


def true_geglu(both):
    value, gate = both.chunk(2, -1)
    return value * F.gelu(gate)


def true_norm_silu(x, weight, bias, groups, eps=1e-5):
    """Written out, so that nothing is shared with what is tested."""
    grouped = x.unflatten(1, (groups, -1)).flatten(2)
    mean = grouped.mean(2, keepdim=True)
    variance = (grouped - mean).square().mean(2, keepdim=True)
    normed = ((grouped - mean) / (variance + eps).sqrt()).view(x.shape)
    normed = normed * weight[:, None, None] + bias[:, None, None]
    return normed * normed.sigmoid()


def true_gradient(function, x, upstream):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(function(x), x, upstream)[0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 2), (3, 74), (2, 5, 64)])
def test_geglu_and_back(shape, dtype):
    both, grad = draw(*shape), draw(*shape[:-1], shape[-1] // 2, seed=1)
    truth = true_geglu(both)
    assert_rounded(EAGER.geglu(both.to(dtype)), truth)
    of_both, product = EAGER.geglu_backward(grad.to(dtype, copy=True), both.to(dtype))
    assert_rounded(of_both, true_gradient(true_geglu, both, grad))
    assert_rounded(product, truth)
    assert of_both.dtype == product.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 4, 1, 2), (2, 12, 5, 7)])
def test_norm_silu_and_back(shape, dtype):
    x, grad = draw(*shape) * 2 + 1, draw(*shape, seed=1)
    weight, bias = draw(shape[1], seed=2), draw(shape[1], seed=3)
    given = x.to(dtype), weight.to(dtype), bias.to(dtype)
    output, *statistics = EAGER.norm_silu(*given, 2, 1e-5)
    assert_rounded(output, true_norm_silu(x, weight, bias, 2))
    found = EAGER.norm_silu_backward(grad.to(dtype), *given, tuple(statistics), 2, 1e-5)
    truth = true_gradient(lambda x: true_norm_silu(x, weight, bias, 2), x, grad)
    assert_rounded(found, truth, passes=16)


def test_what_does_not_lie_in_a_row_is_handled():
    x = draw(2, 8, 4, 6).to(memory_format=torch.channels_last)
    grad, weight, bias = draw(1, 8, 1, 1, seed=1).expand(2, 8, 4, 6), draw(8), draw(8, seed=2)
    output, *statistics = EAGER.norm_silu(x, weight, bias, 4, 1e-5)
    torch.testing.assert_close(output, true_norm_silu(x, weight, bias, 4))
    found = EAGER.norm_silu_backward(grad, x, weight, bias, tuple(statistics), 4, 1e-5)
    truth = true_gradient(lambda x: true_norm_silu(x, weight, bias, 4), x, grad)
    torch.testing.assert_close(found, truth)
