"""Captions read through their notation and written again: nothing is lost, and it takes no time."""

import random
import time

import pytest

from pack.base.caption_notation import NEW_AT_END, NEW_IN_FRONT
from pack.base.caption_reader import caption_tags, read_line, spoken


def again(line, separator=", "):
    read = read_line(line, separator)
    return read.write([(tag, place) for place, tag in enumerate(read.tags)])


def without(line, *gone, separator=", "):
    read = read_line(line, separator)
    return read.write([(t, place) for place, t in enumerate(read.tags) if t not in gone])


LINES = {
    "sks ||| hat, day": ["sks", "hat", "day"],
    "sks ||| hat ||| best": ["sks", "hat", "best"],
    "sks### hat": ["sks", "hat"],
    "||| hat": ["hat"],
    "red hair;;;hat, day": ["red hair", "hat", "day"],
    "a ;;; b;;;c": ["a", "b", "c"],
    "(hat:1.2), [day], ((solo)), (smile:.5)": ["hat", "day", "solo", "smile"],
    "(red hair, hat:0.8), day": ["red hair", "hat", "day"],
    "(saber (fate):1.1), archer (fate)": ["saber (fate)", "archer (fate)"],
    "{red|blue} dress, hat": ["red dress", "blue dress", "hat"],
    "{a, b|c}": ["a", "b", "c"],
    "{|hat}": ["hat"],
    "{(hat:1.2)|cap}": ["hat", "cap"],
    "(a {b|c}:1.2), d": ["a b", "a c", "d"],
    "sks ||| (hat:1.2), {red|blue} dress;;;shoe": ["sks", "hat", "red dress", "blue dress", "shoe"],
    "{{literal}}, hat": ["{{literal}}", "hat"],
    "a \\(b\\), \\(c\\)": ["a \\(b\\)", "\\(c\\)"],
}


@pytest.mark.parametrize("line", LINES)
def test_tags_are_seen_and_the_line_is_written_as_it_was(line):
    assert caption_tags(line) == LINES[line]
    assert again(line) == line


@pytest.mark.parametrize(
    "line",
    ["(o)_(o)", "(^_^)", ":)", "||_||", ";;", "a | b", "{a|b", "a}", "(a", "a (b", "c)", "[", "...", "a (b) c", "{}"],
)  # fmt: skip
def test_faces_and_halves_are_tags(line):
    assert caption_tags(line) == [line] and again(f"{line}, b") == f"{line}, b"


@pytest.mark.parametrize(
    ("line", "gone", "left"),
    [
        ("sks ||| hat, day", ["hat"], "sks ||| day"),
        ("sks ||| hat, day", ["sks"], "||| hat, day"),
        ("sks ||| hat", ["hat"], "sks |||"),
        ("sks ||| hat", ["hat", "sks"], ""),
        ("a;;;b;;;c, d", ["b"], "a;;;c, d"),
        ("a;;;b, d", ["a"], "b, d"),
        ("(hat:1.2), day", ["hat"], "day"),
        ("(red hair, hat:0.8), day", ["hat"], "(red hair:0.8), day"),
        ("{red|blue|green} dress", ["red dress"], "{blue dress|green dress}"),
        ("{red|blue} dress", ["red dress"], "blue dress"),
        ("{red|blue} dress, x", ["red dress", "blue dress"], "x"),
        ("{|hat}, x", ["x"], "{|hat}"),
        ("{a, b|c}", ["a"], "{b|c}"),
    ],
)
def test_a_tag_goes_and_the_notation_of_the_others_stays(line, gone, left):
    assert without(line, *gone) == left


def test_new_tags_stand_in_front_and_behind_those_that_are_free():
    for line, wanted in {
        "a, b": "new, a, b, end",
        "a ||| b": "new, a ||| b, end",
        "a ||| b ||| c": "new, a ||| b, end ||| c",
        "||| b": "new ||| b, end",
        "": "new, end",
    }.items():
        read = read_line(line, ", ")
        old = [(tag, place) for place, tag in enumerate(read.tags)]
        assert read.write([("new", NEW_IN_FRONT), *old, ("end", NEW_AT_END)]) == wanted


def test_another_separator():
    assert again("a; (b; c:1.2); d;;e", "; ") == "a; (b; c:1.2); d; e"
    assert caption_tags("a;;;b", ";") == ["a", "b"]
    assert caption_tags("a|||b", "|") == ["a", "b"]
    assert again("a. {b. c|d}", ". ") == "a. {b. c|d}"
    assert without("dana ||| anna and b", "b", separator=" and ") == "dana ||| anna"


def test_what_is_spoken():
    assert spoken("sks ||| she {sits|stands} (in the rain:1.2);;;hat") == (
        "sks ,  she sits in the rain, hat"
    )


def test_any_text_is_written_as_what_it_reads():
    dice = random.Random(0)
    for _ in range(2000):
        line = "".join(dice.choices(["a", "b", " ", ", ", "(", ")", "[", "]", "{", "}", "{a|b}", "|||", ";;;", ":1.2"], k=14))  # fmt: skip
        once = again(line)
        assert again(once) == once, line
        assert sorted(caption_tags(once)) == sorted(caption_tags(line)), line


@pytest.mark.parametrize(
    "part",
    ["(", "(a, ", "{", "{a|", "a;;;", "||| ", " ", "(a)", "{a|b}", "{a|b}, ", "(:1", ":1", "\\(", "( ", "[(a:1), "],
)  # fmt: skip
def test_the_time_grows_with_the_length(part):
    def seconds(count):
        line = part * count
        began = time.process_time()
        again(line), spoken(line)
        return time.process_time() - began

    seconds(10)
    small = min(seconds(500) for _ in range(3))
    large = min(seconds(8000) for _ in range(2))
    assert large < 80 * max(small, 0.001)  # 16 times the length; its square would be 256 times


def test_brackets_in_brackets():
    line = "(" * 20000 + "a" + ")" * 20000
    assert again(line) == line
