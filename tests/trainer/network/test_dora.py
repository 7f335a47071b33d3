"""DoRA beside plain autograd on the formula: m * (W + change) / |W + change|, the norm detached."""

import pytest
import torch
from torch import nn

from pack.tests.trainer.network.test_kinds import (
    KINDS,
    LAYERS,
    gradients,
    make,
    plainly,
    written_out,
)
from pack.tests.trainer.tiny_unet import MovingWeights, PlainWeights, make_inputs, make_unet
from pack.trainer.batches.plan import BatchItem
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.frozen.forward import frozen_forward
from pack.trainer.layers.attach import Attachment, checkpoint_plan, leaf_plan
from pack.trainer.network.dropout import Dropout
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets
from pack.trainer.optim.optimiser import Optimiser

CONFIG = LoraConfig(2, 2.0, 2, dora=True)


def attached(adapter, module, weights=None):
    weights = weights or PlainWeights()
    return adapter.around(frozen_forward(module, weights), module, weights)


def formula(adapter, module):
    """The weight that the factors stand for, the norm of its columns detached."""
    factors = adapter.factors()
    changed = module.weight + written_out(factors, module.weight.shape, 1.5)
    columns = changed.detach().transpose(0, 1).flatten(1)
    norms = columns.norm(dim=1).view(1, -1, *[1] * (changed.dim() - 2))
    return factors["dora_scale"] * changed / norms


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", KINDS)
def test_output_and_gradients_are_those_of_the_formula(kind, layer):
    adapter, module, x = make(kind, layer, dora=True)
    factors = adapter.factors()
    output = attached(adapter, module, MovingWeights())(x)
    expected = plainly(module, x, formula(adapter, module))
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    found = gradients(output, x, *factors.values())
    for ours, theirs in zip(found, gradients(expected, x, *factors.values()), strict=True):
        assert theirs.any()
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_lengths_begin_as_those_of_the_columns():
    unet = make_unet()
    network = Network(find_targets(unet, CONFIG), weights=MovingWeights())
    state = network.state_dict()
    for target in network.targets:
        scale = state[f"{target.key}.dora_scale"]
        expected = target.module.weight.transpose(0, 1).flatten(1).norm(dim=1)
        assert scale.shape == (1, target.shape[1], *[1] * (len(target.shape) - 2))
        torch.testing.assert_close(scale.flatten(), expected)


@pytest.mark.parametrize("layer", ["linear", "3x3"])
def test_a_sample_without_the_adapter_has_the_frozen_layer(layer):
    adapter, module, x = make("lora", layer, dora=True)
    items = tuple(BatchItem(item_index=number, repeat=0, flipped=False) for number in range(2))
    drop = Dropout(LoraConfig(module_dropout=0.5), 1, 0, items)
    kept = drop.output("a", torch.ones(2, 1)).flatten().tolist()
    assert sorted(kept) == [0.0, 1.0]
    whole, plain = attached(adapter, module)(x), plainly(module, x, module.weight)
    adapter.drop(drop)
    output, factors = attached(adapter, module)(x), adapter.factors().values()
    adapter.drop(None)  # backward of a text encoder comes when other samples are under way
    expected = torch.stack([(whole if k else plain)[number] for number, k in enumerate(kept)])
    torch.testing.assert_close(output, expected)
    for ours, theirs in zip(
        gradients(output, *factors), gradients(expected, *factors), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("algorithm", ["lora", "loha", "lokr"])
def test_recomputed_blocks_and_moving_weights_change_no_bit(algorithm):
    unet = make_unet()
    config = LoraConfig(2, 2.0, 2, algorithm=algorithm, dora=True)
    network = Network(find_targets(unet, config), seed=3, weights=PlainWeights())
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))

    def run(weights, more=()):
        with Attachment([*leaf_plan(unet, network, weights), *more]):
            output = unet(*make_inputs())
            return [output.detach(), *gradients(output, *network.parameters())]

    expected = run(PlainWeights())
    for found in (run(MovingWeights()), run(PlainWeights(), checkpoint_plan(unet))):
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert all(grad.any() for grad in expected)


def test_only_the_input_is_kept_for_backward():
    adapter, module, x = make("lora", dora=True)
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.setdefault(t.data_ptr(), t), lambda t: t
    ):
        attached(adapter, module)(x)
    assert kept.keys() == {x.data_ptr(), *(f.data_ptr() for f in adapter.factors().values())}


def test_weight_decay_leaves_the_lengths_alone():
    network = Network(find_targets(make_unet(), CONFIG), weights=PlainWeights())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    before = network.state_dict()
    optimiser = Optimiser(network.groups(CONFIG), OptimiserConfig(weight_decay=0.5))
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step(0.1)
    for key, value in network.state_dict().items():
        if not key.endswith(".alpha"):
            factor = 1.0 if key.endswith("dora_scale") else 0.95
            torch.testing.assert_close(value, before[key] * factor)


def test_norms_are_limited_before_the_lengths():
    adapter, _, _ = make("lora", dora=True)
    before = {name: factor.detach().clone() for name, factor in adapter.factors().items()}
    with torch.no_grad():
        norm = adapter.limit_norm(0.1)
    assert float(norm) > 0.1
    assert float(adapter.inner.change().detach().norm()) == pytest.approx(0.1, rel=1e-4)
    assert torch.equal(adapter.magnitude, before["dora_scale"])


def test_a_column_of_zeros_stays_finite():
    adapter, _, x = make("lora", dora=True, spread=0.0)
    dead = nn.Linear(12, 18).requires_grad_(False)
    dead.weight.zero_()
    with torch.no_grad():
        adapter.magnitude.zero_()
    output = attached(adapter, dead)(x)
    assert output.isfinite().all() and torch.equal(output, dead.bias.expand_as(output))
    assert all(g.isfinite().all() for g in gradients(output, *adapter.factors().values()))
