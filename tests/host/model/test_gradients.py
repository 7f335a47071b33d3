"""Gradients through borrowed weights equal those of plain autograd on a copy of the UNet."""

import copy

import comfy.model_management as mm
import comfy.ops
import pytest
import torch
import torch.nn.functional as F

from pack.nodes.host.model import unet as host_unet
from pack.nodes.host.model.autograd_session import training_session
from pack.nodes.host.model.weights import ComfyWeights
from pack.trainer.config.lora import LoraConfig
from pack.trainer.layers.attach import Attachment, checkpoint_plan, leaf_plan
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets


def inputs(generator_seed=0):
    rng = torch.Generator().manual_seed(generator_seed)
    x, context = torch.randn((2, 4, 8, 8), generator=rng), torch.randn((2, 77, 48), generator=rng)
    y = torch.randn((2, 32 + 1536), generator=rng)
    return x, torch.tensor([300.0, 800.0]), context, y


def network(unet, seed=0):
    """Adapters with non-zero up factors, so that every factor gets a gradient."""
    net = Network(find_targets(unet, LoraConfig(rank=4, alpha=2, conv_rank=4, conv_alpha=2)), seed)
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for adapter in net.adapters.values():
            adapter.up.copy_(torch.randn(adapter.up.shape, generator=rng) * 0.02)
    return net


def loaded(tiny):
    with torch.inference_mode():
        mm.load_models_gpu([tiny.model])
    return tiny.model.model.diffusion_model


def ours(unet, *, hold=True, checkpointing=False, between=lambda: None):
    """(output, gradients) with the adapters attached to the live UNet."""
    weights = ComfyWeights()
    with training_session():
        net = network(unet)
        plan = leaf_plan(unet, net, weights)
        held = [step.module for step in plan] if hold else []
        plan += checkpoint_plan(unet) if checkpointing else []
        with Attachment(plan) as attachment, weights.hold(held):
            output = host_unet.predict(unet, *inputs())
            between()
            output.square().mean().backward()
            attachment.check()
        return output.detach(), {k: (a.down.grad, a.up.grad) for k, a in net.adapters.items()}


def plain(unet):
    """The same by ordinary autograd: a copy with normal tensors and forward hooks."""
    with training_session():
        twin = copy.deepcopy(unet)
        for name, parameter in list(twin.named_parameters()):
            owner, _, leaf = name.rpartition(".")
            normal = torch.nn.Parameter(parameter.detach().clone(), requires_grad=False)
            setattr(twin.get_submodule(owner), leaf, normal)
        net = network(twin)

        def hook(adapter, geometry):
            def add(_, args, result):
                if geometry is None:
                    delta = F.linear(F.linear(args[0], adapter.down), adapter.up)
                else:
                    delta = F.conv2d(F.conv2d(args[0], adapter.down, None, *geometry), adapter.up)
                return result + delta * 0.5

            return add

        for target in net.targets:
            module = target.module
            conv = isinstance(module, torch.nn.Conv2d)
            geometry = (module.stride, module.padding) if conv else None
            module.register_forward_hook(hook(net.adapters[target.key], geometry))
        output = host_unet.predict(twin, *inputs())
        output.square().mean().backward()
        return output.detach(), {k: (a.down.grad, a.up.grad) for k, a in net.adapters.items()}


def worst(first, second):
    """Largest relative difference of output and gradients."""
    pairs = [(first[0], second[0])]
    pairs += [pair for key in first[1] for pair in zip(first[1][key], second[1][key], strict=True)]
    return max(float((a - b).norm() / b.norm()) for a, b in pairs)


def test_equal_to_plain_autograd(tiny):
    unet = loaded(tiny)
    assert worst(ours(unet), plain(unet)) < 1e-5


@pytest.mark.parametrize("options", [{"hold": False}, {"checkpointing": True}])
def test_no_way_of_reaching_the_weights_changes_a_bit(tiny, options):
    unet = loaded(tiny)
    assert worst(ours(unet, **options), ours(unet)) == 0.0


def test_streamed_weights(tiny, monkeypatch):
    """One cast buffer for all layers, overwritten by each: nothing may be kept of it."""
    unet = loaded(tiny)
    expected = ours(unet)
    buffers = [torch.empty(1 << 20), torch.empty(1 << 20)]
    turn = [0]

    def stream(tensor):
        """Copies into the older of two buffers, as two offload streams do."""
        if tensor is None:
            return None
        turn[0] += 1
        part = buffers[turn[0] % 2][: tensor.numel()].view(tensor.shape)
        return part.copy_(tensor)

    def cast_bias_weight(module, **_):
        weight = stream(module.weight)
        bias = None if module.bias is None else module.bias.clone()
        return (weight, bias, None) if hasattr(comfy.ops, "uncast_bias_weight") else (weight, bias)

    monkeypatch.setattr(comfy.ops, "cast_bias_weight", cast_bias_weight)
    assert worst(ours(unet, hold=False), expected) == 0.0
    assert turn[0] > 500


def test_a_partial_unload_between_forward_and_backward(tiny):
    unet = loaded(tiny)
    expected = ours(unet)

    freed = []

    def unload():
        with torch.inference_mode():
            freed.append(tiny.model.partially_unload(torch.device("cpu"), 1e12))

    assert worst(ours(unet, between=unload), expected) == 0.0
    assert freed[0] > 0


def test_a_partial_unload_of_a_patched_model(tiny):
    """Patches that lay in the weights are then applied on the fly: the same up to rounding."""
    patched = tiny.model.clone()
    keys = [key for key in patched.model_state_dict() if key.endswith("attn1.to_q.weight")]
    shapes = {key: patched.model_state_dict()[key].shape for key in keys}
    patched.add_patches({k: ("diff", (torch.randn(s) * 0.02,)) for k, s in shapes.items()}, 0.7)
    with torch.inference_mode():
        mm.load_models_gpu([patched])
    unet = patched.model.diffusion_model
    expected = ours(unet)

    def unload():
        with torch.inference_mode():
            patched.partially_unload(torch.device("cpu"), 1e12)

    assert worst(ours(unet, between=unload), expected) < 1e-5
    unloaded = [m for m in unet.modules() if getattr(m, "weight_function", None)]
    assert len(unloaded) == len(keys)
    assert worst(ours(unet), expected) < 1e-5  # held while the patches wait beside the weights


def test_saves_less_than_plain_autograd(tiny):
    """No weight and no input of a frozen layer is kept for backward."""
    unet = loaded(tiny)
    counts = []
    for run in (ours, plain):
        seen = {}

        def pack(tensor, seen=seen):
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            run(unet)
        counts.append(sum(seen.values()))
    assert counts[0] < 0.5 * counts[1]
