"""Prompt lines with kohya's options."""

import pytest

from pack.trainer.kohya.prompt_lines import Prompt, parse_prompts


def one(line):
    (prompt,) = parse_prompts(line)
    return prompt


def test_every_option_is_read():
    line = "a cat, 1girl --w 832 --h 1216 --d 42 --l 7.5 --s 28 --n blurry, bad --ss dpmpp_2m"
    assert one(line) == Prompt("a cat, 1girl", "blurry, bad", 832, 1216, 42, 7.5, 28, "dpmpp_2m")
    assert one("plain") == Prompt("plain")


def test_empty_lines_and_comments_are_none():
    found = parse_prompts("a\n\n  # b --w 64\n c --d 0\n")
    assert [(prompt.text, prompt.seed) for prompt in found] == [("a", None), ("c", 0)]


@pytest.mark.parametrize(
    ("option", "name", "value"),
    [
        ("--W 640", "width", 640),
        ("--w 100", "width", 96),
        ("--h 12", "height", 64),
        ("--h 12x", "height", 64),
        ("--s 5000", "steps", 1000),
        ("--s 0", "steps", 1),
        ("--d abc", "seed", None),
        ("--l 1.2.3", "cfg", None),
        ("--ss euler_a", "sampler", "euler_ancestral"),
        ("--ss dpmsolver++", "sampler", "dpmpp_2m"),
        ("--ss k_lms ", "sampler", "lms"),
        ("--g 3.5", "cfg", None),
        ("-- w 64", "width", None),
    ],
)
def test_odd_values(option, name, value):
    prompt = one(f"p {option}")
    assert prompt.text == "p" and getattr(prompt, name) == value
