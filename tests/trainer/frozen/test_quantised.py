from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pack.tests.trainer.tiny_unet import PlainWeights, make_inputs, make_unet
from pack.trainer.config.lora import LoraConfig
from pack.trainer.frozen.quantised import Quantised, dequantise, kept_bytes, quantise
from pack.trainer.frozen.streaming import Streamed, stream_units
from pack.trainer.layers.attach import Attachment, leaf_plan
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets

CPU = torch.device("cpu")
FLOAT = torch.float32


def weight(rows=64, columns=96, seed=0):
    """Rows of very different magnitude, one of zeros, one with a single number."""
    rng = torch.Generator().manual_seed(seed)
    found = torch.randn(rows, columns, generator=rng) * torch.logspace(-6, 2, rows)[:, None]
    found[3] = 0
    found[5] = 0
    found[5, 7] = -2.5
    return found


def restored(codes, scale, dtype=FLOAT):
    return dequantise((codes, scale), dtype)[0]


def test_int8_is_wrong_by_half_a_step_at_most():
    original = weight()
    codes, scale = quantise(original, "int8")
    assert codes.dtype == torch.int8 and scale.shape == (64, 1) and scale.dtype == FLOAT
    wrong = (restored(codes, scale).double() - original.double()).abs()
    step = original.double().abs().amax(1, keepdim=True) / 127
    assert bool((wrong <= step / 2 * (1 + 1e-5)).all())
    assert bool((codes.abs().amax(1)[original.any(1)] == 127).all())  # all codes are used
    assert not restored(codes, scale)[3].any() and restored(codes, scale)[5, 7] == -2.5


def test_fp8_is_wrong_by_half_a_unit_in_the_last_place_at_most():
    original = weight()
    codes, scale = quantise(original, "fp8")
    assert codes.dtype == torch.float8_e4m3fn
    wrong = (restored(codes, scale).double() - original.double()).abs()
    largest = original.double().abs().amax(1, keepdim=True)
    # three bits after the point, and steps of 2^-9 below 2^-6, where 448 is the largest
    bound = torch.maximum(original.double().abs() * 2**-4, largest / 448 * 2**-10)
    assert bool((wrong <= bound * (1 + 1e-5)).all())


@pytest.mark.parametrize("name", ["int8", "fp8"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rounded_once_to_what_is_computed_in(name, dtype):
    codes, scale = quantise(weight().clamp(-500, 500), name)
    exact = codes.to(torch.float64) * scale.double()
    assert torch.equal(restored(codes, scale, dtype), exact.float().to(dtype))


@pytest.fixture
def unet():
    return make_unet()


def quantised(unet, name="int8", resident=True, inner=None, dtype=FLOAT):
    layers = [layer for unit in stream_units(unet) for layer in unit]
    return Quantised(inner or PlainWeights(), layers, name, CPU, dtype, resident=resident)


def borrowed(weights, module, dtype=FLOAT):
    with weights.borrow(module, dtype, CPU) as pair:
        return pair


@pytest.mark.parametrize("resident", [True, False])
def test_linear_layers_are_changed_and_nothing_else(unet, resident):
    weights = quantised(unet, resident=resident)
    with weights.hold(unet.modules()):
        for module in (
            m for m in unet.modules() if next(m.parameters(recurse=False), None) is not None
        ):
            found, bias = borrowed(weights, module)
            if isinstance(module, nn.Linear):
                step = module.weight.abs().amax(1, keepdim=True) / 127
                assert torch.equal(found, (module.weight / step).round() * step)
            else:
                assert torch.equal(found, module.weight)
                assert resident == (found.data_ptr() != module.weight.data_ptr())
            assert bias is module.bias is None or torch.equal(bias, module.bias)
    linear = unet.time_embed[0]
    assert borrowed(weights, linear)[0].data_ptr() == linear.weight.data_ptr()  # as before


def test_the_weight_that_counts_is_the_effective_one(unet):
    class Patched(PlainWeights):
        @contextmanager
        def borrow(self, module, dtype, device):
            with super().borrow(module, dtype, device) as (found, bias):
                yield found * 3, bias

        def stored(self, module):
            return None

    weights, linear = quantised(unet, inner=Patched()), unet.time_embed[0]
    with weights.hold([]):
        expected = quantise(linear.weight * 3, "int8")
        assert torch.equal(borrowed(weights, linear)[0], restored(*expected))
        conv = unet.out[2]
        assert torch.equal(borrowed(weights, conv)[0], conv.weight * 3)


def test_the_owner_is_asked_for_nothing_more(unet):
    class Owner(PlainWeights):
        count = 0

        @contextmanager
        def hold(self, modules):
            self.held = list(modules)
            yield len(self.held)

        def borrow(self, module, dtype, device):
            self.count += 1
            return super().borrow(module, dtype, device)

    owner, other = Owner(), nn.Linear(2, 2)
    weights = quantised(unet, inner=owner)
    layers = [m for m in unet.modules() if next(m.parameters(recurse=False), None) is not None]
    with weights.hold([*layers, other]) as count:
        assert count == len(layers) + 1 and owner.held == [other]
        made = owner.count
        for layer in layers:
            borrowed(weights, layer)
        assert owner.count == made == len(layers)
        borrowed(weights, other)
        assert owner.count == made + 1


def grads(unet, weights):
    network = Network(find_targets(unet, LoraConfig(rank=3)), seed=3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(
                0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
            )
    with weights.hold(unet.modules()), Attachment(leaf_plan(unet, network, weights)):
        out = unet(*make_inputs())
        return torch.autograd.grad(out.square().mean(), network.parameters())


@pytest.mark.parametrize(("name", "least"), [("int8", 0.9995), ("fp8", 0.99)])
def test_gradients_point_the_same_way(unet, name, least):
    expected, found = (
        torch.cat([grad.flatten() for grad in grads(unet, weights)])
        for weights in (PlainWeights(), quantised(unet, name))
    )
    assert 1 > float(F.cosine_similarity(expected, found, dim=0)) > least


@pytest.mark.parametrize("name", ["int8", "fp8"])
def test_streamed_gives_the_same_bits_as_resident(unet, name):
    expected = grads(unet, quantised(unet, name))
    weights = Streamed(quantised(unet, name, resident=False), stream_units(unet), CPU)
    for _ in range(2):  # made again when it is held again
        assert all(map(torch.equal, grads(unet, weights), expected))


def test_half_of_16_bits_and_the_scales(unet):
    linear, conv = unet.time_embed[0].half(), unet.out[2].half()
    out, inner = linear.weight.shape
    assert kept_bytes(linear, "as loaded") == 2 * (out * inner + out)
    assert kept_bytes(linear, "int8") == out * inner + 4 * out + 4 * out
    assert kept_bytes(conv, "fp8") == kept_bytes(conv, "as loaded") == 2 * (conv.weight.numel() + 4)
    weights = quantised(unet)
    with weights.hold([]):
        tensors = weights.stored(linear).tensors
        assert sum(tensor.nbytes for tensor in tensors) == kept_bytes(linear, "int8")
