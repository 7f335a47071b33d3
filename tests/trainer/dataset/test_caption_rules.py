"""Kohya's caption rules; the recorded cases are in tests/replay/test_captions.py."""

import random
from collections import Counter

import pytest

from pack.trainer.config.captions import CaptionConfig
from pack.trainer.dataset.caption_rules import shown_caption, without_tags

CAPTION = "sks, solo, smile, hat, day"


def shown(caption=CAPTION, seed=0, epoch=1, step=0, steps=100, shares=None, **options):
    return shown_caption(
        caption,
        CaptionConfig(**options),
        random.Random(seed),
        epoch=epoch,
        step=step,
        steps=steps,
        shares=shares,
    )


def test_everything_wrong_is_said_at_once():
    with pytest.raises(ValueError) as refused:
        CaptionConfig(dropout=1.5, tag_dropout=-0.1, keep_tokens=-1, separator="")
    text = str(refused.value)
    assert all(
        word in text
        for word in ("dropout is 1.5", "tag_dropout is -0.1", "keep_tokens", "separator")
    )


@pytest.mark.parametrize(
    ("options", "plain"),
    [
        ({}, True),
        ({"prefix": "a", "suffix": "b", "keep_tokens": 3, "secondary_separator": ";"}, True),
        ({"shuffle": True}, False),
        ({"dropout": 0.1}, False),
        ({"dropout_every_n_epochs": 2}, False),
        ({"tag_dropout": 0.1}, False),
        ({"wildcards": True}, False),
        ({"frequent_dropout": 0.1}, False),
        ({"pick_line": True}, True),
        ({"token_warmup_steps": 0.5}, False),
    ],
)
def test_plain_options_give_one_text(options, plain):
    assert CaptionConfig(**options).is_plain == plain
    shares = {"shares": {"hat": 1.0}}
    texts = {
        shown(seed=seed, epoch=seed % 4 + 1, step=seed, **options, **shares) for seed in range(40)
    }
    assert (len(texts) == 1) == (plain or "wildcards" in options)


def test_only_a_fraction_of_warm_up_needs_the_number_of_steps():
    assert CaptionConfig(token_warmup_steps=0.1).needs_horizon
    assert not CaptionConfig(token_warmup_steps=10).needs_horizon
    assert not CaptionConfig(shuffle=True).needs_horizon


def test_whole_captions_drop_at_their_rate():
    texts = Counter(shown(seed=seed, dropout=0.25) for seed in range(4000))
    assert set(texts) == {CAPTION, ""}
    assert 900 < texts[""] < 1100


def test_kept_tags_stay_and_the_others_are_all_there():
    for seed in range(50):
        tags = shown(seed=seed, shuffle=True, keep_tokens=2).split(", ")
        assert tags[:2] == ["sks", "solo"] and sorted(tags[2:]) == ["day", "hat", "smile"]


def test_tags_are_dropped_one_by_one():
    counts = Counter()
    for seed in range(4000):
        counts.update(shown(seed=seed, tag_dropout=0.5, keep_tokens=1).split(", "))
    assert counts["sks"] == 4000
    assert all(1850 < counts[tag] < 2150 for tag in ("solo", "smile", "hat", "day"))


def test_optional_tags_drop_at_their_rate_and_no_others():
    counts = Counter()
    for seed in range(4000):
        text = without_tags(CAPTION, ("hat", "smile"), 0.25, random.Random(seed))
        counts.update(text.split(", "))
    assert counts["sks"] == counts["solo"] == counts["day"] == 4000
    assert all(2850 < counts[tag] < 3150 for tag in ("hat", "smile"))


def test_optional_tags_that_stay_leave_the_caption_to_the_letter():
    odd = "a,b ,  c"
    assert without_tags(odd, ("b",), 0.0, random.Random(0)) == odd
    assert without_tags(odd, ("b",), 1.0, random.Random(0)) == "a, c"
    assert without_tags(odd, ("ab", "d"), 1.0, random.Random(0)) == odd
    assert without_tags("a, , b,", ("b",), 1.0, random.Random(0)) == "a"


def test_warm_up_shows_more_tags_from_step_to_step():
    def tags(step, **options):
        return shown(step=step, **options).count(",") + 1

    half = {"token_warmup_steps": 0.04, "token_warmup_min": 1}  # 4 of 100 steps
    assert [tags(step, **half) for step in range(6)] == [1, 2, 3, 4, 5, 5]
    assert [tags(step, token_warmup_steps=1) for step in range(3)] == [1, 5, 5]


@pytest.mark.parametrize("separator", [";", "|", " |", "、", ", "])
def test_tags_are_joined_by_the_separator_that_split_them(separator):
    caption = separator.join(["sks", "solo", "smile", "hat"])
    for options in (
        {"shuffle": True, "keep_tokens": 4},
        {"tag_dropout": 0.5, "keep_tokens": 4},
        {"token_warmup_steps": 1, "keep_tokens": 4, "step": 9},
    ):
        joined = shown(caption, separator=separator, **options)
        assert joined == f"{separator} ".join(["sks", "solo", "smile", "hat"])
        assert shown(caption, separator=separator, joining="kohya", **options) == (
            "sks, solo, smile, hat"
        )
    marked = caption.replace("solo", "solo|||")
    assert "," in separator or "," not in shown(
        marked, separator=separator, keep_tokens_separator="|||", shuffle=True
    )
    assert shown(caption, separator=separator, joining="kohya") == caption


def test_a_comma_is_joined_with_a_space_either_way():
    for joining in ("separator", "kohya"):
        assert shown("a,b,c", keep_tokens=3, shuffle=True, joining=joining) == "a, b, c"
    with pytest.raises(ValueError, match="joining is 'x'; it must be one of separator, kohya"):
        CaptionConfig(joining="x")


@pytest.mark.parametrize(
    ("caption", "filled"),
    [
        ("{a}", "a"),
        ("{{a}}", "{a}"),
        ("{{{a}}}", "{a}"),
        ("{}a}", "{}a}"),
        ("{a", "{a"),
        ("a}", "a}"),
        ("{{", "{"),
        ("{ {a}", " {a"),
        ("{⦅a⦆}", "⦅a⦆"),
        ("⦅{{⦅⦅", "⦅{⦅⦅"),
        ("{x{{y}z", "x{yz"),
    ],
)
def test_braces_that_are_no_wildcards_stay(caption, filled):
    options = CaptionConfig(wildcards=True)
    assert shown_caption(caption, options, random.Random(0), epoch=1) == filled


@pytest.mark.parametrize(
    "name", ["separator", "secondary_separator", "keep_tokens_separator", "prefix", "suffix"]
)
def test_a_text_that_comes_many_times_in_a_caption_has_a_longest_length(name):
    with pytest.raises(ValueError, match=f"{name} has 2001 characters"):
        CaptionConfig(**{name: "x" * 2001})


def test_tags_drop_by_how_often_they_stand_beside_the_trigger():
    shares = {"hat": 1.0, "smile": 0.25}
    options = {"frequent_dropout": 0.8, "keep_tokens": 1, "shares": shares}
    kept = Counter(tag for n in range(2000) for tag in shown(seed=n, **options).split(", "))
    assert kept["sks"] == kept["solo"] == kept["day"] == 2000
    assert 340 < kept["hat"] < 460 and 1540 < kept["smile"] < 1660  # 20 % and 80 %
    assert shown(frequent_dropout=1.0, shares={"sks": 1.0}, keep_tokens=1) == CAPTION


def test_a_line_is_picked_whole_with_its_braces_prefix_and_suffix():
    caption = "a {b|c}\n\u732b\nd"
    options = {"pick_line": True, "prefix": "one", "suffix": "two"}
    texts = Counter(shown(caption, seed, **options) for seed in range(600))
    assert texts.keys() == {"one a {b|c} two", "one \u732b two", "one d two"}
    assert min(texts.values()) > 150
    assert shown(caption) == "a {b|c}"  # without it the first line, as kohya
