"""What is computed again at each level, counted on a reduced SDXL."""

import itertools

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pack.bench.counted.alive import held
from pack.bench.counted.counter import MORE
from pack.bench.data import reduced_sdxl
from pack.nodes.host.model.unet import predict
from pack.nodes.host.model.weights import ComfyWeights
from pack.trainer.config.lora import LoraConfig
from pack.trainer.layers.attach import Attachment, checkpoint_plan, leaf_plan
from pack.trainer.layers.compact_plan import compact_plan
from pack.trainer.layers.recompute import Again, find_blocks
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets

pytestmark = pytest.mark.main_host

RANK, SIDE, TEXT = 8, 32, 77
ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
WAYS = [(False, level) for level in (Again.NOTHING, Again.ALL_BUT_ATTENTION, Again.ALL)]
WAYS += [(True, level) for level in Again]


def step(compact, level):
    """(bytes kept, FLOPs, FLOPs of attention forward, gradients) with all transformer blocks at a level."""
    unet, inputs = reduced_sdxl.make_unet(), reduced_sdxl.make_inputs()
    network = Network(find_targets(unet, LoraConfig(rank=RANK, alpha=4.0)))
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for adapter in network.adapters.values():
            adapter.up.copy_(0.02 * torch.randn(adapter.up.shape, generator=rng))
    blocks = find_blocks(unet)
    levels = {b: Again.NOTHING if b.size == "resnet" else level for b in blocks}
    if compact:
        plan = compact_plan(unet, network, ComfyWeights(), levels)
    else:
        plan = leaf_plan(unet, network, ComfyWeights())
    with Attachment([*plan, *checkpoint_plan(unet, levels, plan)]):
        with torch.no_grad():
            predict(unet, *inputs)  # room for factors is made once
        with FlopCounterMode(display=False, custom_mapping=MORE) as counter:
            kept = held(lambda: predict(unet, *inputs).square().mean()).kept
            predict(unet, *inputs).square().mean().backward()
    flops = counter.get_flop_counts()["Global"]
    grads = [factor.grad for factor in network.parameters()]
    return kept, sum(flops.values()), flops[ATTENTION], grads


@pytest.fixture(scope="module")
def steps():
    return {way: step(*way) for way in WAYS}


def forward_flops():
    """Of transformer blocks: into the feed-forward's middle, projections, all other linear layers.

    The last layer's output is left out, for nothing of it is kept, but not its hidden channels; so are
    those of the context, which are still there.
    """
    middle = projections = others = 0
    unet = reduced_sdxl.make_unet()
    for block in find_blocks(unet):
        if block.size == "resnet":
            continue
        width = unet.get_submodule(block.name).norm1.normalized_shape[0]
        tokens = (SIDE // (2 if block.size == "large" else 4)) ** 2

        def linear(rows, inner, outer):
            return 2 * rows * (inner * outer + RANK * (inner + outer))

        middle += linear(tokens, width, 8 * width)
        projections += 4 * linear(tokens, width, width)
        projections += 2 * linear(TEXT, reduced_sdxl.CONTEXT, width)
        others += 2 * linear(tokens, width, width) + 2 * tokens * RANK * 4 * width
        others -= 2 * linear(TEXT, reduced_sdxl.CONTEXT, 0)
    return middle, projections, others


@pytest.mark.parametrize("compact", [False, True])
def test_less_is_kept_level_by_level(steps, compact):
    kept = [steps[way][0] for way in WAYS if way[0] == compact]
    for more, less in itertools.pairwise(kept):
        assert less < 0.9 * more


def test_just_what_a_level_says_is_computed_again(steps):
    middle, projections, others = forward_flops()
    nothing, attention = steps[True, Again.NOTHING][1], steps[True, Again.NOTHING][2]
    more = {level: steps[True, level][1] - nothing for level in Again}
    assert more[Again.FEED_FORWARD] == middle
    assert more[Again.PROJECTIONS] == middle + projections
    assert more[Again.ALL_BUT_ATTENTION] == middle + projections + others
    assert more[Again.ALL] == middle + projections + others + attention // 2


@pytest.mark.parametrize("compact", [False, True])
def test_attention_runs_once_unless_all_is_again(steps, compact):
    """Two forwards were counted, the first of them without backward."""
    once = steps[compact, Again.NOTHING][2]
    for way in WAYS:
        if way[0] == compact:
            assert steps[way][2] == (once * 3 // 2 if way[1] is Again.ALL else once)


def test_gradients_are_the_plain_ones(steps):
    plain = steps[False, Again.NOTHING][3]
    for way in WAYS[1:]:
        for ours, theirs in zip(steps[way][3], plain, strict=True):
            assert (ours - theirs).norm() <= 1e-5 * theirs.norm()
