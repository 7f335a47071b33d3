"""Full fine-tuning: what is trained, its output and gradients beside those of the changed layer itself."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from pack.tests.trainer.tiny_unet import MovingWeights, PlainWeights, make_inputs, make_unet
from pack.trainer.config.lora import LoraConfig
from pack.trainer.frozen.forward import frozen_forward
from pack.trainer.layers.attach import Attachment, checkpoint_plan, leaf_plan
from pack.trainer.network.full_targets import text_layers
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets, whole
from pack.trainer.sdxl.blocks import BLOCKS, block_of

LAYERS = {
    "linear": (lambda: nn.Linear(12, 18), (2, 3, 12)),
    "no bias": (lambda: nn.Linear(12, 18, bias=False), (2, 12)),
    "3x3": (lambda: nn.Conv2d(12, 18, 3, padding=1), (2, 12, 5, 5)),
    "strided": (lambda: nn.Conv2d(12, 18, 3, stride=2, padding=1), (2, 12, 6, 8)),
    "group norm": (lambda: nn.GroupNorm(4, 12), (2, 12, 5, 5)),
    "layer norm": (lambda: nn.LayerNorm(12), (2, 3, 12)),
}

FULL = LoraConfig(algorithm="full")


def make(layer, config=FULL):
    """(network of one layer with a random change, the layer, an input)."""
    make_layer, shape = LAYERS[layer]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = make_layer().requires_grad_(False)
        network = Network([whole("lora_unet_", "a", module, config)], weights=PlainWeights())
        for part in network.parameters():
            nn.init.normal_(part, std=0.3)
        return network, module, torch.randn(shape)


@pytest.mark.parametrize("layer", LAYERS)
def test_output_and_gradients_are_those_of_the_changed_layer(layer):
    network, module, x = make(layer)
    (adapter,) = network.adapters.values()
    own, changed = adapter.factors(), copy.deepcopy(module).requires_grad_(True)
    with torch.no_grad():
        for name, part in own.items():
            getattr(changed, {"diff": "weight", "diff_b": "bias"}[name]).add_(part)
    weights = MovingWeights()
    forward = adapter.around(frozen_forward(module, weights), module, weights)
    inputs = x.clone().requires_grad_(), x.clone().requires_grad_()
    outputs = forward(inputs[0]), changed(inputs[1])
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-6)
    upstream = torch.randn(outputs[0].shape, generator=torch.Generator().manual_seed(3))
    found = torch.autograd.grad(outputs[0], [inputs[0], *own.values()], upstream)
    theirs = torch.autograd.grad(outputs[1], [inputs[1], *changed.parameters()], upstream)
    assert len(found) == len(theirs)
    for mine, other in zip(found, theirs, strict=True):
        assert other.any()
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layer", LAYERS)
def test_bf16_is_rounded_once_and_the_gradients_are_float32(layer):
    network, module, x = make(layer)
    (adapter,) = network.adapters.values()
    forward = adapter.around(frozen_forward(module, PlainWeights()), module, PlainWeights())
    output = forward(x.bfloat16())
    changed = copy.deepcopy(module)
    for name, part in adapter.factors().items():  # what ComfyUI's loader makes of the file
        own = getattr(changed, {"diff": "weight", "diff_b": "bias"}[name])
        own.data = (own.data.bfloat16() + part.detach()).bfloat16()
    assert output.dtype == torch.bfloat16 and torch.equal(output, changed.bfloat16()(x.bfloat16()))
    output.sum().backward()
    assert all(part.grad.dtype == torch.float32 for part in adapter.factors().values())


def test_weights_in_bf16_have_the_gradients_of_float32_rounded():
    """And the output of float32, where the change is one that bf16 has; its keys and order are the same."""
    found, drawn, x = [], {}, torch.linspace(-1, 1, 600).view(2, 12, 5, 5)
    for config in (dataclasses.replace(FULL, bf16_weights=True), FULL):
        network, module, _ = make("3x3", config)
        drawn = drawn or network.state_dict()
        network.load(drawn)
        (adapter,) = network.adapters.values()
        forward = adapter.around(frozen_forward(module, PlainWeights()), module, PlainWeights())
        output = forward(x)
        output.square().sum().backward()
        found.append((output, network.state_dict(), [p.grad for p in network.parameters()]))
    (narrow_output, narrow, narrow_grads), (output, tensors, grads) = found
    assert torch.equal(output, narrow_output) and list(tensors) == list(narrow)
    assert all(tensor.dtype == torch.bfloat16 for tensor in narrow.values())
    for grad, other in zip(grads, narrow_grads, strict=True):
        assert other.dtype == torch.bfloat16 and torch.equal(grad.bfloat16(), other)


def test_every_weight_of_the_unet_is_trained_and_nothing_is_changed_at_first():
    unet = make_unet()
    network = Network(find_targets(unet, LoraConfig(algorithm="full")), weights=PlainWeights())
    count = sum(weight.numel() for weight in unet.parameters())
    assert sum(part.numel() for part in network.parameters()) == count
    assert len({part.untyped_storage()._cdata for part in network.parameters()}) == 1
    assert {key.rpartition(".")[2] for key in network.state_dict()} == {"diff", "diff_b"}
    with torch.no_grad():
        expected = unet(*make_inputs())
        with Attachment(leaf_plan(unet, network, PlainWeights())):
            assert torch.equal(unet(*make_inputs()), expected)
        assert torch.equal(unet(*make_inputs()), expected)


def test_strength_lies_between_both_and_recomputed_blocks_give_the_same_gradients():
    unet = make_unet()
    network = Network(find_targets(unet, LoraConfig(algorithm="full")), weights=PlainWeights())
    for part in network.parameters():
        nn.init.normal_(part, std=0.02, generator=torch.Generator().manual_seed(part.numel()))
    found = []
    for blocks in (False, True):
        layers = leaf_plan(unet, network, MovingWeights())
        plan = [*layers, *(checkpoint_plan(unet, layers=layers) if blocks else ())]
        with Attachment(plan):
            unet(*make_inputs()).square().mean().backward()
            found.append([part.grad.clone() for part in network.parameters()])
            for part in network.parameters():
                part.grad = None
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))
    halved = Network(network.targets, weights=PlainWeights())
    halved.load({key: tensor / 2 for key, tensor in network.state_dict().items()})
    results = {}
    with torch.no_grad():
        for name, own, strength in (("half", network, 0.5), ("halved", halved, 1.0)):
            with Attachment(leaf_plan(unet, own, PlainWeights())), own.at_strength(strength):
                results[name] = unet(*make_inputs())
    torch.testing.assert_close(results["half"], results["halved"], rtol=1e-3, atol=1e-4)


def test_parts_divide_the_unet_and_blocks_of_rate_0_stay():
    unet = make_unet()

    def paths(**settings):
        return [t.path for t in find_targets(unet, LoraConfig(algorithm="full", **settings))]

    parts = {
        name: paths(parts=(name,)) for name in ("attention", "feed-forward", "residual", "rest")
    }
    assert sorted(path for found in parts.values() for path in found) == sorted(paths())
    ends = {
        "attention": {"attn1.to_q", "attn2.to_out.0", "norm1", "norm2"},
        "feed-forward": {"ff.net.0.proj", "norm3"},
        "residual": {"input_blocks.1.0.in_layers.0", "output_blocks.0.1.conv", "input_blocks.2.0.op"},
        "rest": {"time_embed.0", "label_emb.0.2", "input_blocks.0.0", "out.2", "middle_block.1.norm"},
    }  # fmt: skip
    for name, found in ends.items():
        assert all(any(path.endswith(end) for path in parts[name]) for end in found), name
    rates = (0.0,) * (BLOCKS - 1) + (0.5,)
    assert paths(block_rates=rates) == ["out.0", "out.2"]
    assert {block_of(path) for path in paths()} >= {0, 1, BLOCKS - 1}


def test_of_a_text_encoder_the_linear_layers_of_its_blocks_are_trained():
    encoder = nn.Module()
    encoder.embeddings = nn.Embedding(4, 4)
    layer = nn.Module()
    layer.self_attn, layer.mlp = nn.Module(), nn.Module()
    layer.self_attn.q_proj, layer.mlp.fc1 = nn.Linear(4, 4), nn.Linear(4, 4)
    layer.layer_norm1, layer.layer_norm2 = nn.LayerNorm(4), nn.LayerNorm(4)
    encoder.encoder = nn.Module()
    encoder.encoder.layers = nn.ModuleList([layer])
    encoder.final_layer_norm = nn.LayerNorm(4)

    def names(*parts):
        config = LoraConfig(algorithm="full", parts=parts)
        return [path.split("layers.0.")[1] for path, _ in text_layers(encoder, config)]

    assert names("attention") == ["self_attn.q_proj"] and names("rest") == []
    assert names() == ["self_attn.q_proj", "mlp.fc1"]


def test_norms_are_limited():
    network, _, _ = make("linear")
    (adapter,) = network.adapters.values()
    norm = sum(float(part.detach().square().sum()) for part in network.parameters()) ** 0.5
    with torch.no_grad():
        assert float(adapter.limit_norm(norm / 2)) == pytest.approx(norm, rel=1e-5)
        assert float(adapter.limit_norm(norm)) == pytest.approx(norm / 2, rel=1e-5)


REFUSED = {
    "parts hold unet; there are attention": {"algorithm": "full", "parts": ("unet",)},
    "parts are for full fine-tuning alone": {"parts": ("attention",)},
    "turn off dora and set dropout": {"algorithm": "full", "dora": True},
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_does_not_go_together_is_refused(sentence):
    with pytest.raises(ValueError, match=sentence):
        LoraConfig(**REFUSED[sentence])
