"""The four scores on previews of which it is known what they show: each finds its own fault and no other."""

import pytest

from pack.tagger.scores import scorecard
from pack.tagger.scores.scorecard import Preview, Seen, score, study

ON, OFF = 0.9, 0.05
THRESHOLD = 0.35
KNOWN = {"red hair", "blue eyes", "hat", "smile", "meadow", "fence", "city", "night", "1girl"}


def seen(*tags, **more):
    """Every tag that the tagger knows, those of the image likely."""
    return {tag: ON if tag in tags else OFF for tag in KNOWN} | more


TRAINING = [
    Seen(seen("red hair", "blue eyes", "meadow", "fence"), "zorp, hat"),
    Seen(seen("red hair", "blue eyes", "meadow", "hat"), "zorp, hat, blue_eyes"),
    Seen(seen("red hair", "blue eyes", "meadow", "fence", "smile"), "zorp, smile"),
    Seen(seen("red hair", "meadow"), "zorp"),
]


@pytest.fixture
def subject():
    return study(TRAINING, "zorp", THRESHOLD)


def scored(subject, prompt, *tags, without=None):
    return score(Preview(prompt, seen(*tags), without), subject, KNOWN, THRESHOLD)


def test_what_the_training_set_teaches(subject):
    """Blue eyes are on three of four images, and two captions leave them out: half of the images."""
    assert subject.identity == ("blue eyes", "red hair")
    assert subject.common == {
        "red hair": 1, "blue eyes": 0.75, "meadow": 1, "fence": 0.5, "hat": 0.25, "smile": 0.25,
    }  # fmt: skip
    named = [Seen(one.tags, f"{one.caption}, red hair") for one in TRAINING]
    assert study(named, "zorp", THRESHOLD).identity == ("blue eyes",)
    assert study(TRAINING, "zorp", THRESHOLD, ["Hat", "red_hair"]).identity == ("hat", "red hair")
    assert study([], "zorp", THRESHOLD) == ("zorp", {}, ())


GOOD = ("red hair", "blue eyes", "hat", "city")
PROMPT = "zorp, hat, (city:1.2)"


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (GOOD, (1, 1, 0)),
        ((*GOOD, "meadow"), (1, 1, 1 / 1.75)),  # leaks: meadow 1 of meadow 1, fence 0.5, smile 0.25
        ((*GOOD, "fence", "smile"), (1, 1, 0.75 / 1.75)),
        (("red hair", "blue eyes", "city"), (0.5, 1, 0)),  # does not obey
        (("hat", "city", "red hair"), (1, 0.5, 0)),  # does not recall
        (("meadow", "fence", "smile"), (0, 0, 1)),
    ],
)
def test_each_fault_has_its_score(subject, tags, expected):
    """A fault moves one score and leaves the others: swapped, they would all be wrong."""
    found = scored(subject, PROMPT, *tags)
    assert (found.obedience, found.recall, found.leakage) == pytest.approx(expected)
    assert found.drift is None and found.why == {"drift": scorecard.IN_PROMPT}


def test_the_tags_behind_the_scores(subject):
    found = scored(subject, PROMPT, "city", "red hair", "smile", "meadow")
    assert found.missing == ("hat",)
    assert found.forgotten == ("blue eyes",)
    assert found.leaked == ("meadow", "smile")
    assert found.can_leak == 3  # meadow, smile, fence


def test_what_the_model_shows_by_itself_is_no_leakage(subject):
    own = scored(subject, "zorp, city", "city", "meadow", "fence", without=seen("city", "meadow"))
    assert own.leaked == ("fence",) and own.leakage == pytest.approx(
        0.5 / 1
    )  # of fence, hat, smile
    assert scored(subject, "zorp, city", "meadow").leaked == ("meadow",)


def test_identity_leaks_into_prompts_without_the_trigger(subject):
    found = scored(subject, "1girl, city", "1girl", "city", "red hair")
    assert found.leaked == ("red hair",)
    assert found.recall is None and found.why["recall"] == scorecard.NOT_IN_PROMPT
    assert scored(subject, "zorp, city", "city", "red hair").leaked == ()


def test_drift_is_the_distance_from_the_model(subject):
    alone = seen("1girl", "city")
    assert scored(subject, "1girl, city", "1girl", "city", without=alone).drift == 0
    gone = scored(subject, "1girl, city", "meadow", "fence", without=alone)
    assert gone.drift == pytest.approx((0.9 - 0.05) / 0.9)
    half = scored(subject, "1girl, city", "1girl", without=alone).drift
    assert half == pytest.approx((0.9 - 0.05) / (2 * 0.9))
    said = scored(subject, "1girl, city", "1girl")
    assert said.drift is None and said.why["drift"] == scorecard.NO_MODEL_IMAGE
    nothing = scored(subject, "1girl, city", without=seen())
    assert nothing.drift is None and nothing.why["drift"] == scorecard.NOTHING_SEEN


def test_a_sentence_asks_for_what_its_words_name(subject):
    """Its tags cannot be told one by one, but none of its words is a leak."""
    found = scored(subject, "A photo of zorp at a fence in a meadow.", "meadow", "fence", "smile")
    assert found.obedience is None and found.why["obedience"] == scorecard.UNKNOWN
    assert found.leaked == ("smile",)


def test_absent_scores_say_why(subject):
    free = scored(subject._replace(trigger=""), "hat", "hat")
    assert free.recall is free.drift is None
    assert free.why["recall"] == free.why["drift"] == scorecard.NO_TRIGGER
    named = scored(subject, "zorp, red hair, blue eyes", "red hair")
    assert named.recall is None and named.why["recall"] == scorecard.IDENTITY_ASKED
    strange = subject._replace(identity=("no tag",))
    assert scored(strange, "zorp").why["recall"] == scorecard.IDENTITY_UNKNOWN
    none = subject._replace(identity=(), common={"no tag": 1.0})
    assert scored(none, "zorp").why["recall"] == scorecard.NO_IDENTITY
    assert scored(none, "zorp").why["leakage"] == scorecard.NO_COMMON
    assert named.obedience == 0.5
    every = scored(subject, "zorp, meadow, fence, hat, smile")
    assert every.leakage is None and every.why["leakage"] == scorecard.ALL_ASKED


@pytest.mark.parametrize("trigger", ["zorp", "Zorp", "my zorp", "a_zorp"])
def test_the_trigger_is_found_as_whole_words(subject, trigger):
    subject = subject._replace(trigger=trigger)
    for prompt in (f"{trigger}, city", f"city, ({trigger}:0.8)", f"a photo of {trigger}."):
        assert "recall" not in scored(subject, prompt).why, prompt
    for prompt in ("city", f"x{trigger}s, city"):
        assert scored(subject, prompt).why["recall"] == scorecard.NOT_IN_PROMPT


def test_the_threshold_is_inclusive_and_spelling_does_not_count(subject):
    at = Preview("zorp, RED_HAIR", seen(**{"red hair": THRESHOLD}))
    assert score(at, subject, KNOWN, THRESHOLD).obedience == 1
    assert score(at, subject, KNOWN, THRESHOLD + 0.01).obedience == 0


def test_the_model_without_the_lora_cannot_leak(subject):
    found = scorecard.without_leakage(scored(subject, "zorp, hat", "meadow"))
    assert found.leakage is None and found.leaked == () and found.can_leak == 0
    assert found.why["leakage"] == scorecard.IS_MODEL and found.obedience == 0
