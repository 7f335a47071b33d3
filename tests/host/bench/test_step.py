"""What a step of a reduced SDXL needs, against the plain way: counted, so the same on every machine."""

import pytest
import torch

from pack.bench import step
from pack.bench.counted.counter import Counter
from pack.bench.data import reduced_sdxl
from pack.bench.peers.plain_lora import Naive
from pack.nodes.host.model.unet import predict
from pack.nodes.host.model.weights import ComfyWeights
from pack.trainer.config.lora import LoraConfig
from pack.trainer.layers.attach import Attachment, checkpoint_plan
from pack.trainer.layers.compact_plan import compact_plan
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets

pytestmark = pytest.mark.main_host


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """Of a step in the middle of a training: ours as the Train node does it."""
    ways, found = step.make_ways(step.scene(), tmp_path_factory.mktemp("bench")), {}
    for name in ("naive", "naive, checkpointed", "ours"):
        way = ways[name]()
        counter = Counter(way.weights)
        way.run(1, 2, counter)
        found[name] = counter.counts()
    return found


def test_what_is_kept_for_backward(counts):
    assert counts["ours"].saved <= 0.60 * counts["naive"].saved


def test_no_product_is_done_twice(counts):
    assert counts["ours"].flops <= 1.01 * counts["naive"].flops
    assert counts["ours"].flops <= 0.69 * counts["naive, checkpointed"].flops


def test_operations(counts):
    assert counts["ours"].launches <= 0.72 * counts["naive"].launches


@pytest.mark.parametrize("recomputed", [False, True])
def test_gradients_are_the_plain_ones(recomputed):
    unet, inputs = reduced_sdxl.make_unet(), reduced_sdxl.make_inputs(2)
    network = Network(find_targets(unet, LoraConfig(rank=8, alpha=4.0)))
    naive = Naive(unet, [target.path for target in network.targets], 8, 4.0)
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for adapter, (down, up) in zip(network.adapters.values(), naive.factors, strict=True):
            adapter.up.copy_(0.02 * torch.randn(adapter.up.shape, generator=rng))
            down.copy_(adapter.down)
            up.copy_(adapter.up)
    plan = compact_plan(unet, network, ComfyWeights())
    plan += checkpoint_plan(unet, layers=plan) if recomputed else []
    with Attachment(plan):
        output = predict(unet, *inputs)
        output.square().mean().backward()
    plain = predict(naive.unet, *inputs)
    plain.square().mean().backward()
    torch.testing.assert_close(output, plain, rtol=1e-4, atol=1e-5)
    for adapter, factors in zip(network.adapters.values(), naive.factors, strict=True):
        for ours, theirs in zip((adapter.down, adapter.up), factors, strict=True):
            assert (ours.grad - theirs.grad).norm() <= 1e-5 * theirs.grad.norm()
