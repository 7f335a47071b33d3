"""Blocks of SDXL by kohya's numbers, and what users write for them."""

import math

import pytest

from pack.trainer.sdxl.blocks import block_of, parse_alphas, parse_ranks, rate_weights


@pytest.mark.parametrize(
    ("path", "block"),
    [
        ("time_embed.0", 0),
        ("input_blocks.0.0", 1),
        ("input_blocks.8.1.transformer_blocks.0.attn1.to_q", 9),
        ("middle_block.0.in_layers.2", 10),
        ("middle_block.2.emb_layers.1", 12),
        ("output_blocks.0.1.proj_in", 13),
        ("output_blocks.8.1.proj_out", 21),
        ("out.2", 22),
        ("nowhere", 0),
    ],
)
def test_a_layer_lies_in_a_block(path, block):
    assert block_of(path) == block


def test_ranks_and_alphas_are_23_numbers_or_none():
    assert parse_ranks("", "block_dims") == parse_alphas("  ", "block_alphas") == ()
    assert parse_ranks(",".join(map(str, range(23))), "block_dims") == tuple(range(23))
    assert parse_alphas("1," * 22 + "2.5", "block_alphas") == (1.0,) * 22 + (2.5,)
    with pytest.raises(ValueError, match="block_dims has 3 numbers; SDXL has 23 blocks"):
        parse_ranks("1,2,3", "block_dims")
    with pytest.raises(ValueError, match="block_dims: ranks are whole numbers"):
        parse_ranks("1," * 22 + "1.5", "block_dims")
    with pytest.raises(ValueError, match="block_alphas is 'a'; write numbers"):
        parse_alphas("a", "block_alphas")


def test_short_lists_of_factors_are_filled_up_with_1():
    assert rate_weights("", "", "") == ()
    expected = (1.0, 0.5, 0.25, *[1.0] * 7, 1.0, 0.0, 1.0, *[1.0] * 9, 1.0)
    assert rate_weights("0.5,0.25", "1,0", "") == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("cosine", lambda i: math.cos(math.pi * i / 16)),
        ("sine", lambda i: math.sin(math.pi * i / 16)),
        ("linear", lambda i: i / 8),
        ("reverse_linear", lambda i: 1 - i / 8),
        ("zeros", lambda i: 0.0),
        ("sine+.25", lambda i: math.sin(math.pi * i / 16) + 0.25),
    ],
)
def test_curves(text, value):
    weights = rate_weights("", "", text)
    assert weights[13:22] == pytest.approx([value(i) for i in range(9)], abs=1e-12)
    assert set(weights[:13]) == {1.0}


def test_factors_up_to_the_threshold_are_0():
    assert rate_weights("0.1,0.2,0.3", "", "", 0.2)[1:4] == (0.0, 0.0, 0.3)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (("1," * 9 + "1", "", ""), "down_lr_weight has 10 numbers; there are 9"),
        (("", "sine", ""), "mid_lr_weight is 'sine'"),
        (("", "", "sin"), "up_lr_weight is 'sin'.*cosine, sine"),
    ],
)
def test_what_is_no_list_is_refused(texts, words):
    with pytest.raises(ValueError, match=words):
        rate_weights(*texts)
