import itertools
from collections import Counter

from pack.tests.trainer.tiny_unet import make_unet
from pack.trainer.layers.recompute import Again, Block, describe, find_blocks, ladder

SDXL = [
    *(Block(f"in.{i}", "large") for i in range(4)),
    *(Block(f"in.{i}", "small") for i in range(4, 64)),
    *(Block(f"out.{i}", "large") for i in range(64, 70)),
    *(Block(f"res.{i}", "resnet") for i in range(17)),
]
"""As many blocks as SDXL has."""


def test_blocks_are_transformer_blocks_and_resnets_in_their_order():
    found = find_blocks(make_unet())
    assert Counter(block.size for block in found) == {"small": 2, "resnet": 6}
    assert [block.name for block in found][:3] == [
        "input_blocks.1.0", "input_blocks.3.0", "input_blocks.3.1.transformer_blocks.0",
    ]  # fmt: skip


def test_narrower_transformer_blocks_are_the_large_ones():
    unet = make_unet()
    block = unet.middle_block[1].transformer_blocks[0]
    block.norm1 = type(block.norm1)(32)
    sizes = {block.name: block.size for block in find_blocks(unet)}
    assert sizes["input_blocks.3.1.transformer_blocks.0"] == "large"
    assert sizes["middle_block.1.transformer_blocks.0"] == "small"


def test_each_step_computes_more_again_and_attention_comes_last():
    steps = list(ladder(SDXL, compact=True))
    assert not any(steps[0].values())
    assert all(level is Again.ALL for level in steps[-1].values())
    assert len(steps) == 1 + 4 * 70 + 1
    for before, after in itertools.pairwise(steps):
        changed = [block for block in SDXL if before[block] != after[block]]
        assert all(after[block] > before[block] for block in changed)
        assert len(changed) == 1 or {block.size for block in changed} == {"resnet"}
        if any(after[b] is Again.ALL for b in SDXL if b.size != "resnet"):
            others = [after[b] for b in SDXL if b.size != "resnet"]
            assert min(others) >= Again.ALL_BUT_ATTENTION


def test_large_blocks_go_first_and_those_that_come_first_before_others():
    steps = list(ladder(SDXL, compact=True))
    large = [block for block in SDXL if block.size == "large"]
    assert [block for block, level in steps[4].items() if level] == large[:4]
    assert steps[20] == {b: Again.PROJECTIONS if b in large else Again.NOTHING for b in SDXL}
    assert steps[21][SDXL[4]] is Again.FEED_FORWARD


def test_layer_by_layer_there_are_two_levels():
    steps = list(ladder(SDXL, compact=False))
    assert len(steps) == 1 + 2 * 70 + 1
    met = {level for step in steps for level in step.values()}
    assert met == {Again.NOTHING, Again.ALL_BUT_ATTENTION, Again.ALL}


def test_levels_are_said_in_words():
    steps = list(ladder(SDXL, compact=True))
    assert describe(steps[0]) == "no block recomputed"
    assert describe(steps[-1]) == "all blocks recomputed in backward"
    assert describe(steps[24]) == (
        "recomputed in backward: feed-forward and projections in 10 of 10 large transformer "
        "blocks, feed-forward in 4 of 60 small transformer blocks"
    )
