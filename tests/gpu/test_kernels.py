"""Triton's kernels on a card: against PyTorch's, and the gradients of transformer blocks and resnets."""

import pytest
import torch

from pack.bench.data import reduced_sdxl
from pack.nodes.host.model.unet import predict
from pack.nodes.host.model.weights import ComfyWeights
from pack.tests.gpu.card import DEVICE, needs_card
from pack.tests.trainer.layers.test_elementwise import draw
from pack.trainer.config.lora import LoraConfig
from pack.trainer.layers.attach import Attachment
from pack.trainer.layers.compact_plan import compact_plan
from pack.trainer.layers.elementwise import EAGER
from pack.trainer.layers.kernel_choice import choose_elementwise
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets

pytestmark = needs_card
pytest.importorskip("triton", reason="Triton is not installed here")

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


@pytest.fixture(params=DTYPES, ids=str)
def kernels(request):
    """The kernels, which must be chosen here, and the dtype that they are tried in."""
    found = choose_elementwise(DEVICE, request.param, triton=True)
    assert found is not EAGER
    return found, request.param


def assert_near(found, truth, dtype):
    bound = 4 * torch.finfo(dtype).eps * truth.abs().max() + 1e-5 * truth.abs().max()
    assert (found.double() - truth).abs().max() <= bound


@pytest.mark.parametrize("shape", [(4096, 2560), (1024, 5120), (3, 37)])
def test_geglu_is_that_of_pytorch(kernels, shape):
    ours, dtype = kernels
    both, grad = draw(shape[0], 2 * shape[1]).to(DEVICE), draw(*shape, seed=1).to(DEVICE)
    assert_near(ours.geglu(both.to(dtype)), EAGER.geglu(both), dtype)
    found = ours.geglu_backward(grad.to(dtype), both.to(dtype))
    for mine, truth in zip(found, EAGER.geglu_backward(grad, both), strict=True):
        assert_near(mine, truth, dtype)


@pytest.mark.parametrize(
    "shape", [(1, 320, 128, 128), (2, 640, 52, 76), (1, 1280, 26, 38), (1, 2560, 32, 32)]
)
def test_norm_silu_is_that_of_pytorch(kernels, shape):
    ours, dtype = kernels
    x, grad = draw(*shape).to(DEVICE) * 2 + 1, draw(*shape, seed=1).to(DEVICE)
    x = x.to(dtype).double()
    weight, bias = draw(shape[1], seed=2).to(DEVICE), draw(shape[1], seed=3).to(DEVICE)
    given = x.to(dtype), weight.to(dtype), bias.to(dtype)
    output, *statistics = ours.norm_silu(*given, 32, 1e-5)
    truth, *true_statistics = EAGER.norm_silu(x, weight, bias, 32, 1e-5)
    assert_near(output, truth, dtype)
    found = ours.norm_silu_backward(grad.to(dtype), *given, tuple(statistics), 32, 1e-5)
    rest = tuple(true_statistics), 32, 1e-5
    assert_near(found, EAGER.norm_silu_backward(grad, x, weight, bias, *rest), dtype)


def test_gradients_of_blocks_are_as_near_to_the_truth_as_with_pytorch():
    unet = reduced_sdxl.make_unet(device=DEVICE.type)
    network = Network(find_targets(unet, LoraConfig(rank=8)), device=DEVICE)
    with torch.no_grad():
        for adapter in network.adapters.values():
            adapter.up.normal_(std=0.02)
    inputs = reduced_sdxl.make_inputs(2)

    def grads(elementwise, dtype):
        x, t, context, y = (tensor.to(DEVICE) for tensor in inputs)
        with Attachment(compact_plan(unet, network, ComfyWeights(), elementwise=elementwise)):
            out = predict(unet, x.to(dtype), t, context.to(dtype), y.to(dtype))
            out.float().square().mean().backward()
        found = torch.cat([parameter.grad.flatten() for parameter in network.parameters()])
        for parameter in network.parameters():
            parameter.grad = None
        return found

    truth = grads(EAGER, torch.float32)
    ours = choose_elementwise(DEVICE, torch.bfloat16, triton=True)
    assert (grads(ours, torch.float32) - truth).norm() <= 1e-4 * truth.norm()
    error = (grads(EAGER, torch.bfloat16) - truth).norm()
    assert (grads(ours, torch.bfloat16) - truth).norm() <= 1.1 * error
