"""Kohya's chunks and weights; real token ids are replayed in tests/host/model/test_clip_tokens.py."""

import pytest

from pack.trainer.sdxl.token_chunks import (
    BOS,
    DEEPEST,
    EOS,
    kohya_chunks,
    kohya_positions,
    kohya_weights,
    parse_weights,
    weighted_ids,
)

PAD = 0


def ids(count):
    return list(range(1, count + 1))


def test_seventy_five_tokens_are_one_chunk():
    assert kohya_chunks(ids(3), 75, EOS) == [[BOS, 1, 2, 3, *[EOS] * 73]]
    assert kohya_chunks(ids(3), 75, PAD) == [[BOS, 1, 2, 3, EOS, *[PAD] * 72]]
    assert kohya_chunks(ids(80), 75, PAD) == [[BOS, *ids(75), EOS]]


def test_long_captions_are_cut_at_seventy_five_and_truncated():
    first, second, third = kohya_chunks(ids(300), 225, PAD)
    assert first == [BOS, *range(1, 76), EOS]
    assert second == [BOS, *range(76, 151), EOS]
    assert third == [BOS, *range(151, 226), EOS]


def test_the_second_encoder_ends_every_chunk_and_the_first_is_filled_with_ends():
    assert kohya_chunks(ids(75), 150, PAD)[1] == [BOS, EOS, *[PAD] * 75]
    assert kohya_chunks(ids(2), 150, PAD)[1] == [BOS, EOS, *[PAD] * 75]
    assert kohya_chunks(ids(2), 150, EOS)[1] == [BOS, *[EOS] * 76]
    assert kohya_chunks(ids(74), 150, PAD)[0] == [BOS, *ids(74), EOS, PAD]


def test_the_joined_sequence_leaves_out_inner_begins_and_ends():
    assert kohya_positions(1) == list(range(77))
    assert kohya_positions(3) == [0, *range(1, 76), *range(78, 153), *range(155, 230), 230]


def test_weights_stand_at_the_tokens_places():
    assert kohya_weights([2.0, 3.0], 75) == [1.0, 2.0, 3.0, *[1.0] * 74]
    long = kohya_weights([2.0] * 300, 150)
    assert long == [1.0, *[2.0] * 150, 1.0]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("plain, text", [("plain, text", 1.0)]),
        ("a (b) c", [("a ", 1.0), ("b", 1.1), (" c", 1.0)]),
        ("(b:1.5)", [("b", 1.5)]),
        ("[b]", [("b", 1 / 1.1)]),
        ("((b))", [("b", 1.1 * 1.1)]),
        ("(a [b:.5] c)", [("a ", 1.1), ("b:.5", 1.1 / 1.1), (" c", 1.1)]),
        (r"miku \(vocaloid\)", [("miku (vocaloid)", 1.0)]),
        ("(open", [("open", 1.1)]),
        ("closed)", [("closed)", 1.0)]),
        ("x:1.3)", [("x:1.3)", 1.0)]),
        ("(a:b)", [("a:b", 1.1)]),
        ("(a:1.2.3)", [("a:1.2.3", 1.1)]),
        (r"back\slash", [("backslash", 1.0)]),
        ("^_^, :d", [("^_^, :d", 1.0)]),
        ("", [("", 1.0)]),
    ],
)
def test_brackets_as_weights(text, parts):
    found = parse_weights(text)
    assert [part for part, _ in found] == [part for part, _ in parts]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in parts])


def test_each_token_has_the_weight_of_its_part():
    found = weighted_ids("ab (c:2) d", lambda text: [ord(letter) for letter in text])
    assert found.ids == [ord(letter) for letter in "ab c d"]
    assert found.weights == [1.0, 1.0, 1.0, 2.0, 1.0, 1.0]


def test_brackets_within_brackets_count_up_to_a_depth():
    (part,) = parse_weights("(" * 5000 + "a" + ")" * 5000)
    assert part == ("a", pytest.approx(1.1**DEEPEST))
    (part,) = parse_weights("[" * 5000 + "a")
    assert part == ("a", pytest.approx(1.1**-DEEPEST))
    assert parse_weights("((a)b)c")[2] == ("c", 1.0)
