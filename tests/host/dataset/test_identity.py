"""Find Identity Tags on a DATASET: what each policy does, and what the report says of it."""

from dataclasses import replace

import pytest

from pack.nodes.host.dataset.identity import identity_tags
from pack.tagger import IdentityConfig
from pack.tests.host.captioned import captions, picture, scores, subset
from pack.trainer.dataset.dataset import Dataset

PROSE = "A girl with blonde hair, blue eyes, stands in the rain."


@pytest.fixture
def dataset():
    own = subset(
        picture("sks, Blonde hair, blue eyes, smile", ("blonde_hair", "general"), name="one"),
        picture(
            "sks, blonde hair, rin", ("rin", "character"), ("blonde hair", "general"), name="two"
        ),
        optional_tags=("smile",),
    )
    other = subset(picture("blonde hair, hat, red eyes", name="one"), picture(PROSE, name="three"))
    reg = subset(picture("blonde hair, blue eyes", name="reg"), is_reg=True)
    return Dataset((own, reg, other), trigger="sks")


def apply(dataset, policy="keep", rate=0.5, **options):
    return identity_tags(dataset, IdentityConfig(**options), policy, rate)


def test_keep_only_shows(dataset):
    changed, tags, report = apply(dataset, percent=30)
    assert changed is dataset
    assert tags == "blonde hair, blue eyes, red eyes"
    lines = report.split("\n")
    assert lines[0] == "3 identity tags on at least 30 % of 3 images"
    assert [line.split() for line in lines[1:4]] == [
        ["3", "(100", "%)", "hair", "blonde", "hair"],
        ["1", "(", "33", "%)", "eyes", "blue", "eyes"],
        ["1", "(", "33", "%)", "eyes", "red", "eyes"],
    ]
    assert lines[4:] == [
        "not counted, as their captions are written in sentences: 1",
        "not counted, as they are regularisation images: 1",
        "",
        "applied: nothing (policy keep); the captions are as they were",
    ]


def test_prune_takes_them_out_of_tag_captions_by_position(dataset):
    changed, tags, report = apply(dataset, "prune")
    assert tags == "blonde hair"
    assert captions(changed) == [
        "sks, blue eyes, smile", "sks, rin", "blonde hair, blue eyes", "hat, red eyes", PROSE,
    ]  # fmt: skip
    assert scores(changed) == [[], [("rin", "character")], [], [], []]
    assert "rarer ones, not proposed:\n" in report
    assert "taken out of the captions\n3 of 4 captions changed" in report
    assert "one.png\n  sks, Blonde hair, blue eyes, smile\n  -> sks, blue eyes, smile" in report
    assert changed.trigger == "sks"


def test_hybrid_marks_them_as_each_subset_spells_them(dataset):
    changed, tags, report = apply(dataset, "hybrid", 0.3, percent=60)
    assert tags == "blonde hair"
    assert [(s.optional_tags, s.optional_rate) for s in changed.subsets] == [
        (("smile", "Blonde hair", "blonde hair"), 0.3),
        ((), 0.5),
        (("blonde hair",), 0.3),
    ]
    assert captions(changed) == captions(dataset)
    assert "chance 0.3: smile, Blonde hair, blonde hair" in report
    assert apply(changed, "hybrid", 0.3, percent=60)[0] == changed


def test_an_empty_proposal_changes_nothing(dataset):
    for policy in ("prune", "hybrid"):
        changed, tags, report = apply(dataset, policy, kinds=())
        assert changed is dataset and tags == ""
        assert report.startswith("0 identity tags") and "applied: nothing" in report


def test_tags_of_other_categories_and_the_trigger_are_left_alone(dataset):
    blonde = replace(dataset, trigger="blonde hair")
    assert apply(blonde)[1] == ""
    assert "rin" not in apply(dataset, extra=("r*",), percent=1)[1].split(", ")
    assert "smile" in apply(dataset, extra=("smile",), percent=1)[1]


def test_many_rarer_tags_are_summed_up():
    colours = [
        "red",
        "blue",
        "green",
        "brown",
        "black",
        "pink",
        "aqua",
        "grey",
        "orange",
        "purple",
        "yellow",
        "white",
    ]
    own = subset(*(picture(f"{colour} eyes") for colour in colours))
    assert "\n  and 2 others" in apply(Dataset((own,)))[2]
