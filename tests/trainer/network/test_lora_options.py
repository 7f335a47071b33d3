"""What differs from block to block, rsLoRA, LoRA+ and limited norms."""

import math

import pytest
import torch
from torch import nn

from pack.tests.trainer.tiny_unet import make_unet
from pack.trainer.config.lora import LoraConfig
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets
from pack.trainer.sdxl.blocks import block_of

PLAIN = LoraConfig(rank=4, alpha=2.0)
CONV = LoraConfig(rank=4, alpha=2.0, conv_rank=3, conv_alpha=1.5)


@pytest.fixture
def unet():
    return make_unet()


def network(unet, config):
    return Network(find_targets(unet, config))


def test_rank_and_alpha_go_by_block(unet):
    blocks = tuple(range(23))
    config = LoraConfig(
        block_ranks=blocks,
        block_alphas=tuple(1 + block / 2 for block in blocks),
        conv_block_ranks=blocks[::-1],
        conv_block_alphas=(0.0,) * 23,
    )
    for target in find_targets(unet, config):
        block = block_of(target.path)
        if isinstance(target.module, nn.Conv2d) and target.module.kernel_size == (3, 3):
            assert (target.rank, target.alpha) == (22 - block, 22 - block)  # alpha 0: no scaling
        else:
            assert (target.rank, target.alpha) == (block, 1 + block / 2)


def test_blocks_of_rank_or_rate_0_have_no_adapter(unet):
    without = {10, 11, 12}
    zeros = tuple(0 if block in without else 1 for block in range(23))
    for config in (LoraConfig(block_ranks=zeros), LoraConfig(block_rates=zeros)):
        blocks = {block_of(target.path) for target in find_targets(unet, config)}
        assert blocks == {block_of(target.path) for target in find_targets(unet, PLAIN)} - without


def test_rslora_scales_by_the_root_of_the_rank_in_the_file_as_well(unet):
    config = LoraConfig(rank=16, alpha=6.0, rank_stabilised=True)
    stabilised = network(unet, config)
    for adapter in stabilised.adapters.values():
        assert adapter.scale == pytest.approx(6.0 / math.sqrt(16))
    alphas = [value for key, value in stabilised.state_dict().items() if key.endswith(".alpha")]
    assert alphas and all(float(alpha) / 16 == pytest.approx(6.0 / 4) for alpha in alphas)


def test_up_factors_and_blocks_learn_at_rates_of_their_own(unet):
    rates = tuple(block / 10 for block in range(23))
    found = network(unet, LoraConfig(rank=4, loraplus_ratio=8.0, block_rates=rates))
    groups = found.groups(LoraConfig(rank=4, loraplus_ratio=8.0, block_rates=rates))
    factors = {id(p): group.factor for group in groups for p in group.parameters}
    assert len(factors) == len(found.parameters())
    for target in found.targets:
        adapter, rate = found.adapters[target.key], block_of(target.path) / 10
        assert factors[id(adapter.down)] == pytest.approx(rate)
        assert factors[id(adapter.up)] == pytest.approx(8 * rate)
    (alone,) = found.groups(LoraConfig())
    assert alone.factor == 1.0 and list(map(id, alone.parameters)) == [
        id(p) for p in found.parameters()
    ]


def test_norms_are_limited_with_both_factors_shrunk_alike(unet):
    limited = network(unet, CONV)
    generator = torch.Generator().manual_seed(1)
    for place, adapter in enumerate(limited.adapters.values()):
        with torch.no_grad():  # one that has not learnt yet, and very different others
            adapter.up.normal_(std=0.01 * (place % 7), generator=generator)
    before = {key: (a.down.clone(), a.up.clone()) for key, a in limited.adapters.items()}
    lengths = limited.limit_norms(0.05)
    assert (lengths > 0.05).any() and (lengths < 0.05).any() and (lengths == 0).any()
    for length, (key, adapter) in zip(lengths, limited.adapters.items(), strict=True):
        down, up = before[key]
        change = (up.flatten(1) @ down.flatten(1) * adapter.scale).norm().item()
        assert float(length) == pytest.approx(change, rel=1e-4)
        ratio = min(1.0, 0.05 / change) if change else 1.0
        torch.testing.assert_close(adapter.down.detach(), down * ratio**0.5)
        torch.testing.assert_close(adapter.up.detach(), up * ratio**0.5)
