import itertools
import random

import pytest

from pack.tagger import FilterConfig, PatternRule, filter_captions, parse_patterns, split_tags


def one(caption, **options):
    return filter_captions([caption], FilterConfig(**options))[0][0]


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
    options = FilterConfig(trigger="sks", minimum_count=2, keep_first=("hat",))
    texts, *_ = filter_captions(["a, b, sks", "B, c, hat", "c, c"], options)
    assert texts == ["sks, b", "sks, hat, B, c", "sks, c"]


def test_a_tag_is_rare_by_captions_not_by_mentions():
    options = FilterConfig(drop_duplicates=False, minimum_count=2)
    assert filter_captions(["a, a, b", "b"], options)[0] == ["b", "b"]


def test_long_captions_are_cut_with_the_trigger_counted():
    assert one("a, b, c", maximum_tags=2) == "a, b"
    assert one("a, b, c", trigger="sks", maximum_tags=2) == "sks, a"
    assert one("a", trigger="sks", maximum_tags=1) == "sks"


def test_a_tag_made_rare_by_cutting_goes_too():
    options = FilterConfig(minimum_count=2, maximum_tags=2)
    texts, *_ = filter_captions(["a, b, c", "a, c", "b, a, c"], options)
    assert filter_captions(texts, options)[0] == texts
    assert "c" not in "".join(texts)


WORDS = split_tags(
    "a, b, B, c, long_hair, long hair, very long hair, hat, white hat, sks, braid, braided, d (e), "
    "(d) e, hat on head, A girl stands in the rain.., a girl with a hat"
)
PATTERNS = (
    PatternRule(r"(.+) \((.+)\)", r"\1, \2"),
    PatternRule("braid.*"),
    PatternRule("white (hat)", r"\1"),
    PatternRule("[bc]", "long hair"),
    PatternRule("very (.*)", r"a, \1"),
)


def random_options(draw):
    return FilterConfig(
        trigger=draw.choice(["", "sks", "a, hat", "a girl with a hat"]),
        remove=tuple(draw.sample(["b*", "hat", "c"], draw.randint(0, 2))),
        replace=tuple(draw.sample([("a", "d"), ("long*", "long hair"), ("c", "b")], 2)),
        keep_first=tuple(draw.sample(WORDS[:8], draw.randint(0, 3))),
        drop_duplicates=draw.random() < 0.7,
        minimum_count=draw.randint(1, 3),
        maximum_tags=draw.choice([None, 2, 3, 4]),
        patterns=tuple(draw.sample(PATTERNS, draw.randint(0, 3))),
        fold_redundant=draw.random() < 0.5,
        spare_prose=draw.random() < 0.5,
    )


def test_filtering_twice_equals_once():
    draw = random.Random(7)
    changed = 0
    for _ in range(1500):
        captions = [
            draw.choice([", ", ",", ",, "]).join(draw.choices(WORDS, k=draw.randint(0, 7)))
            for _ in range(draw.randint(1, 5))
        ]
        options = random_options(draw)
        once, first, _ = filter_captions(captions, options)
        again, report, _ = filter_captions(once, options)
        changed += bool(first.changes)
        assert again == once, (captions, options)
        assert report.changes == () and not report.removed and not report.added
    assert changed > 1000


def test_redundant_tags_are_folded_unless_kept_first():
    caption = "hair, shirt, long hair, white shirt, very long hair, dress, dress shirt"
    left = "white shirt, very long hair, dress, dress shirt"
    assert one(caption, fold_redundant=True) == left
    assert one(caption) == caption
    assert one(caption, fold_redundant=True, keep_first=("shirt",)) == f"shirt, {left}"
    assert (
        one("shirt, sks", fold_redundant=True, trigger="white shirt") == "white shirt, shirt, sks"
    )


def test_a_rare_tag_folds_nothing():
    options = FilterConfig(fold_redundant=True, minimum_count=2)
    texts, *_ = filter_captions(["shirt, white shirt", "shirt, red shirt", "shirt"], options)
    assert texts == ["shirt"] * 3


def test_folding_goes_before_cutting():
    assert one("shirt, a, white shirt, b", fold_redundant=True, maximum_tags=2) == "a, white shirt"


def test_patterns_take_whole_tags_and_go_between_replace_and_remove():
    patterns = parse_patterns("braid|ponytail\n(.+) eyes => \\1 eye\n(.+) \\((.+)\\) => \\1, \\2\n")
    assert one("Braid, braided hair, Blue eyes", patterns=patterns) == "braided hair, Blue eye"
    assert one("miku (vocaloid), vocaloid", patterns=patterns) == "miku, vocaloid"
    options = {"patterns": patterns, "replace": (("orbs", "red eyes"),), "remove": ("green eye",)}
    assert one("orbs, green eyes, solo", **options) == "red eye, solo"
    assert one("blue eyes, a", patterns=patterns, trigger="blue eyes") == "blue eyes, a"


def test_rules_that_never_settle_are_refused():
    options = {"patterns": (PatternRule("(b+)", r"\1b"),)}
    with pytest.raises(ValueError, match=r"the tag 'b+' again and again"):
        one("a, b", **options)
    options = {"patterns": (PatternRule("b", "a"),), "replace": (("a", "b"),)}
    with pytest.raises(ValueError, match="again and again"):
        one("a", **options)


def test_patterns_that_take_too_long_are_refused():
    with pytest.raises(ValueError, match="takes longer"):
        one("solo, " + "a" * 60, patterns=(PatternRule(r"(?:(a+)+\1)+[b]"),))


def test_the_rules_hold_for_each_line():
    assert one("a, b, a\nx\nb", trigger="sks", remove=("x",)) == "sks, a, b\nsks\nsks, b"
    assert one("a, b\nx\nb", remove=("x",)) == "a, b\nb"
    prose = "A woman in a red dress is standing in the rain, looking up."
    assert one(f"a, x\n{prose}", trigger="sks", remove=("x",), spare_prose=True) == (
        f"sks, a\nsks, {prose}"
    )


def test_a_tag_on_two_lines_of_a_caption_counts_once():
    filtered = filter_captions(["a, b\na", "b"], FilterConfig(minimum_count=2))
    assert filtered.captions == ["b", "b"]
    assert [[item.tag for item in kept] for kept in filtered.kept] == [["b"], ["b"]]


def test_categories_go_but_for_the_trigger():
    kinds = {"miku": "character", "general": "rating", "solo": "general", "highres": "meta"}
    options = FilterConfig(
        trigger="Miku", drop_categories=("character", "rating"), replace=(("rin", "len"),)
    )
    captions = ["Miku, solo, General, highres, hat", "rin, miku"]
    texts, _, kept = filter_captions(
        captions, options, categories=[kinds, {"rin": "character", "miku": "character"}]
    )
    assert texts == ["Miku, solo, highres, hat", "Miku"]
    assert kept[0][1] == ("solo", "solo")
    # A new name is of the old one's kind unless it is known itself.
    known = {"rin": "character", "len": "general"}
    assert filter_captions(["rin"], options, categories=[known])[0] == ["Miku, len"]


def test_prose_only_gets_the_trigger():
    prose = "A girl stands in the rain, looking up, looking up."
    options = {
        "trigger": "sks", "spare_prose": True, "remove": ("looking up",), "maximum_tags": 2
    }  # fmt: skip
    assert one(prose, **options) == f"sks, {prose}"
    assert one(f"SKS, {prose}", **options) == f"SKS, {prose}"
    assert one("Sks is standing in the rain.", **options) == "Sks is standing in the rain."
    assert (
        one("sksy is a girl standing in rain", **options) == "sks, sksy is a girl standing in rain"
    )
    assert one(f"1girl, solo. {prose}", **options) == f"sks, 1girl, solo. {prose}"
    assert one("1girl, looking up, solo, hat", **options) == "sks, 1girl"
    assert one("sks, 1girl, looking up, solo, hat", **options) == "sks, 1girl"
    assert one(prose, **{**options, "trigger": ""}) == prose
    assert one(prose, **{**options, "spare_prose": False}) == "sks, A girl stands in the rain"


def test_tags_of_prose_are_counted():
    options = FilterConfig(spare_prose=True, minimum_count=2)
    captions = ["hat, coat", "hat, solo. A girl stands in the rain.", "coat"]
    texts, report, _ = filter_captions(captions, options)
    assert texts == ["hat, coat", captions[1], "coat"]
    assert report.prose == 1 and "left as they are except for the trigger: 1" in report.text()


def test_the_caller_may_stop_between_captions():
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        filter_captions(["a"], FilterConfig(), on_caption=stop)


def test_the_report_shows_changes_and_totals():
    captions = ["a, b", "b, c", "c"]
    options = FilterConfig(remove=("b",), replace=(("a", "d"),))
    texts, report, _ = filter_captions(captions, options, ["one.png", "two.png", "three.png"])
    assert texts == ["d", "c", "c"]
    assert [(change.name, change.before, change.after) for change in report.changes] == [
        ("one.png", "a, b", "d"),
        ("two.png", "b, c", "c"),
    ]
    text = report.text()
    assert text.startswith(
        "2 of 3 captions changed\ntags: 5 -> 3, different ones: 3 -> 2\nremoved: 3 tags: b (2), a (1)\nadded: 1 tags"
    )
    assert "one.png\n  a, b\n  -> d" in text and "three.png" not in text
    assert "and 1 more" in report.text(limit=1) and "two.png" not in report.text(limit=1)


def test_names_must_match():
    with pytest.raises(ValueError, match="1 names and 2 lists of categories for 2"):
        filter_captions(["a", "b"], FilterConfig(), ["x"])


@pytest.mark.parametrize(
    "pairs",
    [(("a", "b"), ("b", "c")), (("a", "b"), ("b", "a")), (("a", "bx"), ("b*", "c"))],
)
def test_chains_of_replacements_are_refused(pairs):
    with pytest.raises(ValueError, match="another rule replaces"):
        FilterConfig(replace=pairs)


def test_all_problems_are_reported_together():
    with pytest.raises(ValueError) as caught:
        FilterConfig(
            trigger="a, b",
            remove="x",
            keep_first=("",),
            replace=(("a", "b, c"),),
            minimum_count=0,
            maximum_tags=1,
            patterns=(PatternRule("("), PatternRule("", "b")),
            drop_categories=("characters",),
        )
    words = "remove keep_first replace minimum_count maximum_tags '(' empty characters"
    for word in words.split(" "):
        assert word in str(caught.value)
    with pytest.raises(ValueError, match="separator"):
        FilterConfig(separator="")


def test_rules_whose_results_multiply_are_refused():
    """Each of these words becomes many of the next: ten rounds would make a number of 20 digits."""
    rules = "\n".join(f"{a} => {', '.join([b] * 100)}" for a, b in itertools.pairwise("abcdefghij"))
    config = FilterConfig(patterns=parse_patterns(rules), drop_duplicates=False)
    with pytest.raises(ValueError, match="again and again"):
        filter_captions(["a"], config)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"patterns": parse_patterns("a\n" * 201)}, "there are 201 patterns, allowed: 200"),
        ({"remove": ("a*",) * 1001}, "1001 tags with"),
        ({"remove": ("a" * 2001,)}, "more than 2000 characters"),
        ({"keep_first": ("a" * 2001,)}, "more than 2000 characters"),
        ({"replace": (("a", "b" * 2001),)}, "more than 2000 characters"),
        ({"separator": "," * 101}, "separator has 101 characters"),
        ({"trigger": "a" * 1001}, "trigger has 1001 characters"),
    ],
)
def test_rules_have_a_longest_length(values, said):
    with pytest.raises(ValueError, match="Filter options") as caught:
        FilterConfig(**values)
    assert said in str(caught.value)
