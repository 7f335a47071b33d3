import itertools
import sys
import time

import pytest

from pack.tagger.captions.patterns import PatternRule, Patterns, parse_patterns, pattern_problem

ENDLESS = r"(?:(a+)+\1)+[b]"


def test_a_rule_a_line():
    text = "  .*hair \n\na => b\n(.), (.) =>\\2\nx=>y\n=> z"
    assert parse_patterns(text) == (
        (".*hair", None),
        ("a", "b"),
        ("(.), (.)", "\\2"),
        ("x=>y", None),
        ("=> z", None),
    )


def apply(tag, *rules):
    patterns = Patterns(PatternRule(*rule) for rule in rules)
    patterns.start_caption()
    return patterns.apply(tag)


def test_the_first_rule_that_changes_the_tag_decides():
    assert apply("Long hair", ("long",)) == "Long hair"
    assert apply("Long hair", ("long hair",)) is None
    assert apply("Long hair", (".*", r"\g<0>"), ("(long) (hair)", r"\2 \1"), (".*",)) == "hair Long"
    assert apply("a", ("a", "")) is None


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (("(a",), "no valid regular expression"),
        (("a", r"\1"), "no such group"),
        (("(?P<x>a)", r"\g<y>"), "unknown group"),
        (("",), "empty"),
        (("a" * 501,), "501 characters"),
        (("a", "b" * 501), "501 characters"),
        (("(?:(?:a{1000}){1000}){100}",), "repeats up to 100000000 times"),
        (("(?x)a{ 20 00 }",), "repeats up to 2000 times"),
        (("a{9,}{1000}",), "repeats up to 9000 times"),
        (("(" * 240 + ")" * 240 + "(" * 10,), "no valid regular expression"),
    ],
)
def test_what_cannot_or_may_not_be_compiled_is_refused(rule, words):
    problem = pattern_problem(PatternRule(*rule))
    assert problem is not None and words in problem


def test_nesting_deeper_than_python_goes_is_refused():
    rule = PatternRule("(" * 230 + ")" * 230)

    def at_depth(frames):
        return at_depth(frames - 1) if frames else pattern_problem(rule)

    assert "recursion" in at_depth(sys.getrecursionlimit() - 200)
    assert pattern_problem(rule) is None


def test_sound_rules_have_no_problem():
    for rule in [("a{2,5}",), ("(?P<x>a)|(b)", r"\g<x>\2"), ("(?R)?",), ("a{1000}",), ("[{}]a",)]:
        assert pattern_problem(PatternRule(*rule)) is None


def test_a_pattern_that_takes_too_long_is_named():
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"takes longer than 0\.5 s") as caught:
        apply("a" * 60, (ENDLESS,))
    assert f"'{ENDLESS}'" in str(caught.value)
    assert time.monotonic() - start < 60


def test_the_tags_of_a_caption_share_the_time(monkeypatch):
    clock = itertools.count(100, 0.4)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    patterns = Patterns([PatternRule("b")])
    patterns.start_caption()
    assert patterns.apply("a") == "a"
    next(clock)  # other work is not counted
    assert patterns.apply("a") == "a"
    with pytest.raises(ValueError, match="longer than"):
        patterns.apply("a")
    patterns.start_caption()
    assert patterns.apply("a") == "a"


def test_a_result_may_not_grow_without_end():
    with pytest.raises(ValueError, match="again and again"):
        apply("a" * 50, ("(.*)", r"\1" * 100))
