import random

import pytest

from pack.tagger import FilterOptions, filter_captions


def one(caption, **options):
    return filter_captions([caption], FilterOptions(**options))[0][0]


def test_the_trigger_is_first_exactly_once():
    assert one("1girl, SKS, solo, sks", trigger="sks") == "sks, 1girl, solo"
    assert one("", trigger="sks") == "sks"
    assert one("sks girl, solo", trigger="sks") == "sks, sks girl, solo"
    assert one("b, x, a", trigger="a, b") == "a, b, x"


def test_the_trigger_is_neither_replaced_nor_removed():
    options = {"trigger": "my hair", "remove": ("* hair",), "replace": (("my hair", "x"),)}
    assert one("long hair, my_hair, solo", **options) == "my hair, solo"


def test_only_whole_tags_are_removed():
    assert one("braid, braided hair, Twin_Braid", remove=("braid",)) == "braided hair, Twin_Braid"
    assert one("braid, braided hair, twin braid", remove=("*braid",)) == "braided hair"
    assert one("long_hair, solo", remove=("Long Hair",)) == "solo"


def test_replace_goes_before_remove():
    options = {"replace": (("grey hair", "gray hair"),), "remove": ("gray hair",)}
    assert one("grey_hair, solo", **options) == "solo"
    assert one("a, 1girl", replace=(("1girl", "woman"), ("1*", "person"))) == "a, woman"


def test_duplicates_and_empty_tags_go():
    assert one("a,, b, A, long_hair, long hair,") == "a, b, long_hair"
    assert one("a, a", drop_duplicates=False) == "a, a"


def test_keep_first_comes_after_the_trigger_in_its_order():
    options = {"trigger": "sks", "keep_first": ("solo", "1girl", "absent")}
    assert one("smile, 1girl, sks, solo", **options) == "sks, solo, 1girl, smile"


def test_rare_tags_go_unless_protected():
    options = FilterOptions(trigger="sks", minimum_count=2, keep_first=("hat",))
    texts, _ = filter_captions(["a, b, sks", "B, c, hat", "c, c"], options)
    assert texts == ["sks, b", "sks, hat, B, c", "sks, c"]


def test_a_tag_is_rare_by_captions_not_by_mentions():
    options = FilterOptions(drop_duplicates=False, minimum_count=2)
    assert filter_captions(["a, a, b", "b"], options)[0] == ["b", "b"]


def test_long_captions_are_cut_with_the_trigger_counted():
    assert one("a, b, c", maximum_tags=2) == "a, b"
    assert one("a, b, c", trigger="sks", maximum_tags=2) == "sks, a"
    assert one("a", trigger="sks", maximum_tags=1) == "sks"


def test_a_tag_made_rare_by_cutting_goes_too():
    options = FilterOptions(minimum_count=2, maximum_tags=2)
    texts, _ = filter_captions(["a, b, c", "a, c", "b, a, c"], options)
    assert filter_captions(texts, options)[0] == texts
    assert "c" not in "".join(texts)


def test_filtering_twice_equals_once():
    draw = random.Random(7)
    words = ["a", "b", "B", "c", "long_hair", "long hair", "sks", "hat", "braid", "braided", ""]
    for _ in range(300):
        captions = [
            ", ".join(draw.choices(words, k=draw.randint(0, 7))) for _ in range(draw.randint(1, 5))
        ]
        options = FilterOptions(
            trigger=draw.choice(["", "sks", "a, hat"]),
            remove=tuple(draw.sample(["b*", "hat", "c"], draw.randint(0, 2))),
            replace=tuple(draw.sample([("a", "d"), ("long*", "long hair"), ("c", "b")], 2)),
            keep_first=tuple(draw.sample(words[:5], draw.randint(0, 3))),
            drop_duplicates=draw.random() < 0.7,
            minimum_count=draw.randint(1, 3),
            maximum_tags=draw.choice([None, 2, 3, 4]),
        )
        once, _ = filter_captions(captions, options)
        again, report = filter_captions(once, options)
        assert again == once, (captions, options)
        assert report.changes == () and not report.removed and not report.added


def test_the_report_shows_changes_and_totals():
    captions = ["a, b", "b, c", "c"]
    options = FilterOptions(remove=("b",), replace=(("a", "d"),))
    texts, report = filter_captions(captions, options, ["one.png", "two.png", "three.png"])
    assert texts == ["d", "c", "c"]
    assert [(change.name, change.before, change.after) for change in report.changes] == [
        ("one.png", "a, b", "d"),
        ("two.png", "b, c", "c"),
    ]
    text = report.text()
    assert text.startswith("2 of 3 captions changed\nremoved: 3 tags: b (2), a (1)\nadded: 1 tags")
    assert "one.png\n  a, b\n  -> d" in text and "three.png" not in text
    assert "and 1 more" in report.text(limit=1) and "two.png" not in report.text(limit=1)


def test_names_must_match():
    with pytest.raises(ValueError, match="1 names for 2 captions"):
        filter_captions(["a", "b"], FilterOptions(), ["x"])


@pytest.mark.parametrize(
    "pairs",
    [(("a", "b"), ("b", "c")), (("a", "b"), ("b", "a")), (("a", "bx"), ("b*", "c"))],
)
def test_chains_of_replacements_are_refused(pairs):
    with pytest.raises(ValueError, match="another rule replaces"):
        FilterOptions(replace=pairs)


def test_all_problems_are_reported_together():
    with pytest.raises(ValueError) as caught:
        FilterOptions(
            trigger="a, b",
            remove="x",
            keep_first=("",),
            replace=(("a", "b, c"),),
            minimum_count=0,
            maximum_tags=1,
        )
    for word in ("remove", "keep_first", "replace", "minimum_count", "maximum_tags"):
        assert word in str(caught.value)
    with pytest.raises(ValueError, match="separator"):
        FilterOptions(separator="")
