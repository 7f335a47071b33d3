import random

import pytest

from pack.tagger.captions.redundancy import covered_by, redundant


def test_the_head_of_a_longer_tag_is_covered():
    assert covered_by("very long hair") == ("long hair", "hair")
    assert covered_by("White_Shirt") == ("shirt",)
    assert covered_by("shirt") == ()


@pytest.mark.parametrize(
    ("caption", "left"),
    [
        ("shirt, white shirt", "white shirt"),
        ("hair ornament, x hair ornament", "x hair ornament"),
        ("long hair, very long hair", "very long hair"),
        ("hair, Long_Hair, very long hair", "very long hair"),
        ("ears, animal ears, cat ears", "animal ears, cat ears"),
        ("bow, hair bow, red bow", "hair bow, red bow"),
        ("hat, witch hat, black hat", "witch hat, black hat"),
        (r"shirt, white shirt, shirt \(object\)", r"white shirt, shirt \(object\)"),
    ],
)
def test_what_is_said_already_goes(caption, left):
    tags = caption.split(", ")
    gone = redundant(tags)
    assert ", ".join(tag for tag in tags if tag.lower().replace("_", " ") not in gone) == left


@pytest.mark.parametrize(
    "caption",
    [
        "1girl, solo, multiple girls, 2girls",
        "girl, 1girl, cat girls",
        "dress, dress shirt, shirtdress",
        "long hair, long sleeves, hair between eyes",
        "closed eyes, half-closed eyes, one eye closed",
        "mouth, finger to mouth",
        "breasts, between breasts",
        "back, looking back, arched back, arms behind back",
        "bed, on bed",
        "shoes, no shoes, unworn shoes",
        "cat, stuffed cat",
        "sailor collar, collar",
        "day, valentine's day",
        "profile, character profile",
        "bubble, speech bubble",
        "dog, hot dog",
        "solo focus, solo",
        "tail, ponytail, twintails",
        "braid, twin braids",
        "sex, after sex",
        "holding, holding sword",
        "kiss, imminent kiss",
    ],
)
def test_false_friends_stay(caption):
    assert redundant(caption.split(", ")) == frozenset()


def test_nothing_is_left_to_fold():
    draw = random.Random(3)
    words = ["long", "very", "hair", "white", "shirt", "no", "on", "dress"]
    for _ in range(300):
        tags = [" ".join(draw.choices(words, k=draw.randint(1, 4))) for _ in range(8)]
        left = [tag for tag in tags if tag not in redundant(tags)]
        assert redundant(left) == frozenset()
        assert left or not tags


def test_a_tag_of_very_many_words_covers_nothing():
    assert covered_by(" ".join(["a"] * 30_000) + " hair") == ()
    assert len(covered_by("very " * 19 + "hair")) == 19
