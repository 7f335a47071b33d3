"""The `kohya` choice beside the meaning of the script's help, on constructed tags."""

import numpy as np
import pytest

from pack.tagger import Label, Labels, TagConfig, merge, select

LISTED = Labels(
    (
        Label("long_hair", "general"),
        Label("Solo", "general"),
        Label("solo", "general"),
        Label("||_||", "general"),
        Label("saber_(fate)", "character"),
    )
)
ALL = np.ones(len(LISTED), np.float32)


@pytest.mark.parametrize(
    ("options", "fixed", "script"),
    [
        ({}, ["long hair", "Solo", "||_||", "saber (fate)"],
             ["long hair", "Solo", "solo", "|| ||", "saber (fate)"]),
        ({"undesired": ("Long_Hair", "SOLO")}, ["||_||", "saber (fate)"],
             ["long hair", "Solo", "solo", "|| ||", "saber (fate)"]),
        ({"undesired": ("long hair", "fate"), "character_tag_expand": True},
             ["Solo", "||_||", "saber"], ["Solo", "solo", "|| ||", "saber, fate"]),
        ({"always_first": ("SABER_(fate)", "solo", "long hair")},
             ["saber (fate)", "Solo", "long hair", "||_||"],
             ["long hair", "solo", "Solo", "|| ||", "saber (fate)"]),
        ({"replacements": (("LONG hair", "hair"), ("fate", "series")), "character_tag_expand": True},
             ["hair", "Solo", "||_||", "saber", "series"],
             ["long hair", "Solo", "solo", "|| ||", "saber, fate"]),
    ],
)  # fmt: skip
def test_what_is_meant_and_what_the_script_does(options, fixed, script):
    options = {"character_threshold": 0.5, **options}
    for kohya, expected in ((False, fixed), (True, script)):
        tags = select(ALL, LISTED, TagConfig(**options, kohya=kohya))
        assert [tag.name for tag in tags] == expected


def test_appending_as_the_script_does_compares_letter_by_letter():
    assert merge("Solo,long hair", ["solo", "long_hair"], kohya=False) == "Solo,long hair"
    assert merge("Solo,a", ["solo", "a"], "append", ", ", kohya=True) == "Solo, a, solo"
    assert merge("Solo,a\n", ["a"], "append", ", ", kohya=True) == "Solo, a"


def test_the_script_splits_whatever_ends_with_a_parenthesis():
    labels = Labels((Label("odd)", "character"), Label("(x)", "character")))
    options = {"character_threshold": 0.5, "character_tag_expand": True}
    names = {
        kohya: [
            t.name
            for t in select(np.ones(2, np.float32), labels, TagConfig(**options, kohya=kohya))
        ]
        for kohya in (False, True)
    }
    assert names == {False: ["odd)", "(x)"], True: [", odd", ", x"]}


def test_the_script_repeats_a_tag_that_two_labels_spell_alike():
    labels = Labels((Label("long_hair", "general"), Label("long hair", "general")))
    ones = np.ones(2, np.float32)
    assert len(select(ones, labels, TagConfig())) == 1
    assert len(select(ones, labels, TagConfig(kohya=True))) == 2
