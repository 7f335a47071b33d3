import fnmatch
import random

import pytest

from pack.tagger import merge, split_tags, tag_key, tag_match
from pack.tagger.captions.tag_text import TagTable


def test_split_strips_and_drops_empty_tags():
    assert split_tags(" a ,, b c,\n") == ["a", "b c"]
    assert split_tags("a; b, c", "; ") == ["a", "b, c"]
    assert split_tags("a b", " ") == ["a", "b"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Long_Hair", "long hair", True),
        (r"saber \(fate\)", "saber_(fate)", True),
        ("braid", "braided hair", False),
        ("0_0", "o_o", False),
        ("_", "", False),
    ],
)
def test_tags_are_compared_whole(one, other, same):
    assert (tag_key(one) == tag_key(other)) is same


@pytest.mark.parametrize(
    ("pattern", "tag", "hit"),
    [
        ("braid", "braided hair", False),
        ("braid*", "braided hair", True),
        ("*_hair", "long hair", True),
        ("*_hair", "hairband", False),
        ("!?*", "!?x", True),
        ("!?*", "!ax", False),
        ("[a]*", "ab", False),
    ],
)
def test_only_the_star_is_a_wildcard(pattern, tag, hit):
    assert tag_match(pattern)(tag) is hit


def test_append_adds_what_is_not_there():
    caption = merge("Long Hair, sks", ["1girl", "long_hair", "solo", "Solo"], "append")
    assert caption == "Long Hair, sks, 1girl, solo"


@pytest.mark.parametrize("separator", [", ", "; ", " | "])
def test_append_twice_equals_once(separator):
    tags = ["1girl", ";_;", "long hair", "|_|", "saber, fate"]
    once = merge("a, b", tags, "append", separator)
    assert merge(once, tags, "append", separator) == once
    assert once.endswith("fate")


def test_replace_and_skip():
    assert merge("old", ["new"], "replace") == "new"
    assert merge("old ,text", ["new"], "skip") == "old ,text"
    assert merge(" \n", ["new"], "skip") == "new"


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="append, replace, skip"):
        merge("a", ["b"], "prepend")


def test_each_line_is_a_caption():
    assert split_tags("a, b\nc\n\n, d") == ["a", "b", "c", "d"]
    assert merge("a\n\nb, c\n", ["b"]) == "a, b\nb, c"
    assert merge("a\nb", ["c"], "replace") == "c"
    assert merge("a\nb", ["c"], kohya=True) == "a\nb, c"


@pytest.mark.parametrize("seed", range(5))
def test_stars_stand_for_any_text(seed):
    """Against fnmatch, which says the same and takes much longer for long texts."""
    rng = random.Random(seed)
    for _ in range(2000):
        pattern = "".join(rng.choices("ab*[?", k=rng.randrange(1, 7)))
        tag = "".join(rng.choices("ab[?", k=rng.randrange(7)))
        literal = pattern.replace("[", "[[]").replace("?", "[?]")
        assert tag_match(pattern)(tag) == fnmatch.fnmatchcase(tag, literal), (pattern, tag)


def test_the_first_row_that_fits_counts():
    table = TagTable([("a*", 1), ("ab", 2), ("x", 3), ("X", 4), ("*b", 5)])
    assert [table.find(tag, 0) for tag in ("ab", "x", "bb", "a", "c")] == [1, 3, 5, 1, 0]
