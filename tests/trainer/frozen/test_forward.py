import pytest
import torch
from torch import nn

from pack.tests.trainer.tiny_unet import MovingWeights, PlainWeights
from pack.trainer.frozen.forward import frozen_forward, is_linear

LAYERS = {
    "linear": (lambda: nn.Linear(6, 5), (2, 3, 6)),
    "linear without bias": (lambda: nn.Linear(6, 5, bias=False), (4, 6)),
    "linear 4d": (lambda: nn.Linear(6, 5), (2, 2, 3, 6)),
    "conv": (lambda: nn.Conv2d(4, 6, 3, padding=1), (2, 4, 7, 5)),
    "conv without bias": (lambda: nn.Conv2d(4, 6, 1, bias=False), (2, 4, 7, 5)),
    "conv stride": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1), (2, 4, 7, 6)),
    "conv stride lost edge": (lambda: nn.Conv2d(4, 6, 3, stride=(3, 2)), (2, 4, 8, 8)),
    "conv padding": (lambda: nn.Conv2d(4, 6, (3, 5), padding=(2, 1)), (2, 4, 7, 6)),
    "conv dilation": (lambda: nn.Conv2d(4, 6, 3, dilation=(2, 1), padding=2), (2, 4, 7, 6)),
    "conv groups": (lambda: nn.Conv2d(4, 6, 3, groups=2, padding=1), (2, 4, 7, 6)),
    "group norm": (lambda: nn.GroupNorm(2, 4, eps=1e-3), (2, 4, 7, 6)),
    "group norm 3d": (lambda: nn.GroupNorm(2, 4), (2, 4, 9)),
    "layer norm": (lambda: nn.LayerNorm(6, eps=1e-3), (2, 3, 6)),
    "layer norm without bias": (lambda: nn.LayerNorm((3, 6), bias=False), (2, 3, 6)),
}
MULTIPLIED = [name for name in LAYERS if "norm" not in name]
NORMS = [name for name in LAYERS if "norm" in name]


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def randomised(module):
    for parameter in module.parameters():
        parameter.data.normal_()
    return module.requires_grad_(False)


def make(name):
    """The layer with ordinary weights, the same with inference weights, an input and a gradient."""
    build, shape = LAYERS[name]
    plain = randomised(build())
    with torch.inference_mode():
        frozen = build().requires_grad_(False)
        for parameter, value in zip(frozen.parameters(), plain.parameters(), strict=True):
            parameter.copy_(value)
    assert all(p.is_inference() for p in frozen.parameters())
    x = torch.randn(shape)
    return plain, frozen, x, torch.randn(plain(x).shape)


def run(forward, x, upstream):
    x = x.clone().requires_grad_()
    out = forward(x)
    (grad,) = torch.autograd.grad(out, x, upstream)
    return out.detach(), grad


def saved(forward, x):
    """The tensors that autograd keeps for backward."""
    kept = []

    def keep(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = forward(x.clone().requires_grad_())
    assert out.requires_grad
    return kept


@pytest.mark.parametrize("name", LAYERS)
def test_output_and_gradient_are_those_of_plain_autograd(name):
    plain, frozen, x, upstream = make(name)
    out, grad = run(plain, x, upstream)
    ours, our_grad = run(frozen_forward(frozen, PlainWeights()), x, upstream)
    assert torch.equal(ours, out)
    torch.testing.assert_close(our_grad, grad, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_weights_may_move_between_forward_and_backward(name):
    plain, frozen, x, upstream = make(name)
    weights = MovingWeights()
    ours, our_grad = run(frozen_forward(frozen, weights), x, upstream)
    out, grad = run(plain, x, upstream)
    assert torch.equal(ours, out)
    torch.testing.assert_close(our_grad, grad, rtol=1e-6, atol=1e-6)
    assert weights.borrowed == (1 if name in NORMS else 2)


@pytest.mark.parametrize("name", MULTIPLIED)
def test_linear_and_convolution_save_nothing(name):
    plain, frozen, x, _ = make(name)
    assert saved(frozen_forward(frozen, PlainWeights()), x) == []
    trained = plain.requires_grad_()
    assert sum(tensor.nbytes for tensor in saved(trained, x)) >= trained.weight.nbytes


@pytest.mark.parametrize("name", NORMS)
def test_norms_save_copies_of_their_small_weights_only(name):
    _, frozen, x, _ = make(name)
    owned = {parameter.data_ptr() for parameter in frozen.parameters()}
    kept = saved(frozen_forward(frozen, PlainWeights()), x)
    assert not owned & {tensor.data_ptr() for tensor in kept}
    assert not any(tensor.is_inference() for tensor in kept)


@pytest.mark.parametrize("name", LAYERS)
def test_the_base_weights_stay_as_they_are(name):
    _, frozen, x, upstream = make(name)
    before = [parameter.clone() for parameter in frozen.parameters()]
    x.requires_grad_()
    frozen_forward(frozen, PlainWeights())(x).backward(upstream)
    assert x.grad is not None
    for parameter, value in zip(frozen.parameters(), before, strict=True):
        assert parameter.grad is None and torch.equal(parameter, value)


def test_weights_that_would_like_a_gradient_get_none():
    layer = randomised(nn.Linear(3, 3)).requires_grad_()
    x = torch.randn(2, 3, requires_grad=True)
    frozen_forward(layer, PlainWeights())(x).sum().backward()
    assert x.grad is not None and layer.weight.grad is None and layer.bias.grad is None


@pytest.mark.parametrize("name", LAYERS)
def test_the_dtype_is_that_of_the_input(name):
    plain, frozen, x, upstream = make(name)
    low = [tensor.to(torch.bfloat16) for tensor in (x, upstream)]
    ours, our_grad = run(frozen_forward(frozen, PlainWeights()), *low)
    out, grad = run(plain.to(torch.bfloat16), *low)
    assert ours.dtype == our_grad.dtype == torch.bfloat16
    assert torch.equal(ours, out)
    torch.testing.assert_close(our_grad, grad)


def test_an_input_without_gradient_gives_an_output_without():
    _, frozen, x, _ = make("linear")
    assert not frozen_forward(frozen, PlainWeights())(x).requires_grad


def test_modules_without_weights_are_left_alone():
    others = (nn.SiLU(), nn.Dropout(), nn.Identity(), nn.Sequential(nn.Linear(2, 2)))
    assert [frozen_forward(module, PlainWeights()) for module in others] == [None] * 4


def test_a_quantised_linear_layer_of_comfyui_is_linear():
    class Quantised(nn.Module):
        in_features, comfy_cast_weights = 3, True

    class Bag(nn.Module):
        in_features = 3

    assert is_linear(Quantised()) and is_linear(nn.Linear(2, 2))
    assert not is_linear(Bag()) and not is_linear(nn.Conv2d(2, 2, 1))
