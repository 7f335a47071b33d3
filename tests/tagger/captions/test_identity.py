"""Identity tags: what counts as one (against labels), what is proposed, what pruning takes.

`python -m pytest -rP tests/tagger/captions/test_identity.py -k labelled` prints precision and recall.
"""

import sys

import pytest

from pack.tagger.captions.identity import IdentityConfig, find_identity, identity_kind, prune
from pack.tagger.captions.identity_words import IDENTITY, NOT_IDENTITY
from pack.tagger.captions.tag_text import tag_key
from pack.tests.tagger.captions import identity_labels


@pytest.mark.parametrize(
    ("name", "precision", "recall"), [("SEEN", 1.0, 1.0), ("HELD_OUT", 1.0, 0.98)]
)
def test_the_vocabulary_on_labelled_tags(name, precision, recall):
    labels = getattr(identity_labels, name)
    wanted = {tag for tag, kind in labels.items() if kind}
    found = {tag for tag in labels if identity_kind(tag)}
    hits = found & wanted
    measured = len(hits) / len(found), len(hits) / len(wanted)
    sys.stdout.write(
        f"{name}: {len(labels)} tags, {len(wanted)} of identity, "
        f"precision {measured[0]:.3f}, recall {measured[1]:.3f}\n"
    )
    assert measured[0] >= precision and measured[1] >= recall, (found - wanted, wanted - found)
    assert {tag: identity_kind(tag) for tag in hits} == {tag: labels[tag] for tag in hits}


@pytest.mark.parametrize(
    "tag",
    ["closed eyes", "half-closed eyes", "wet hair", "floating hair", "looking at viewer", "holding hair", "eyes visible through hair", "hand in own hair", "heart-shaped pupils", "hair down", "shiny skin", "covering own eyes", "glowing eyes", "hat", "hat ribbon", "wing collar", "sailor collar", "chair", "holding glasses", "unworn eyewear", "wine glasses", "eyewear removed", "tail wagging", "no eyes", "alternate hair color", "ears through headwear", "adjusting eyewear", "animal ear legwear", "stairs", "magical girl", "1girl", "cat", "bear", "captain", "breasts", "navel", "smile", "string", "wings focus", "hand on another's tail", "fake facial hair", "uniform", "skirt", "bowl", "closed mouth"],
)  # fmt: skip
def test_what_is_no_identity(tag):
    assert identity_kind(tag) is None


@pytest.mark.parametrize(
    ("tag", "kind"),
    [
        ("Light_Blue_Eyes", "eyes"), ("gray eyes", "eyes"), ("blue-eyed girl", "eyes"),
        ("platinum blonde hair", "hair"), ("green-haired woman", "hair"), ("twin braids", "hair"),
        ("tri tails", "hair"), ("two tails", "body"), ("hair rings", "hair"),
        ("ring", "accessories"), ("pubic hair", "body"), ("cat hair ornament", "accessories"),
        ("cat ears", "body"), ("fake animal ears", "accessories"), ("hand tattoo", "body"),
    ],
)  # fmt: skip
def test_kinds(tag, kind):
    assert identity_kind(tag) == kind


def test_the_table_says_nothing_twice():
    exact = [tag for tags in IDENTITY.values() for tag in tags if "*" not in tag]
    assert len(exact) == len(set(exact))
    assert not set(exact) & set(NOT_IDENTITY)
    assert all(tag == tag_key(tag) for tags in IDENTITY.values() for tag in tags)


CAPTIONS = [
    "sks, Blonde_hair, blue eyes, smile, hat",
    "sks, blonde hair, blue eyes, glasses, hat",
    "sks, blonde hair, blue eyes, blonde hair, hat",
    "sks, blonde hair, twintails, glasses, hat",
    "A girl with blonde hair stands in the rain.",
]


def proposed(captions=CAPTIONS, categories=None, trigger="", **options):
    found = find_identity(captions, IdentityConfig(**options), categories, trigger)
    return [(tag.tag, tag.kind, tag.captions) for tag in found.proposed]


def test_frequent_identity_tags_are_proposed_commonest_first():
    found = find_identity(CAPTIONS, IdentityConfig())
    assert found[:2] == (4, 1)
    assert list(found.proposed) == [
        ("blonde hair", "hair", 4),
        ("blue eyes", "eyes", 3),
        ("glasses", "accessories", 2),
    ]
    assert [tag.tag for tag in found.rarer] == ["twintails"]


def test_the_share_counts_captions_inclusively():
    assert [tag for tag, *_ in proposed(percent=75)] == ["blonde hair", "blue eyes"]
    assert [tag for tag, *_ in proposed(percent=76)] == ["blonde hair"]
    assert len(proposed(percent=1)) == 4


def test_kinds_exclude_and_extra():
    assert proposed(kinds=("eyes",)) == [("blue eyes", "eyes", 3)]
    assert [tag for tag, *_ in proposed(exclude=("*_hair", "glasses"))] == ["blue eyes"]
    assert proposed(extra=("h*t", "blonde hair"), kinds=()) == [
        ("blonde hair", "extra", 4),
        ("hat", "extra", 4),
    ]
    assert proposed(extra=("hat",), exclude=("hat",), kinds=()) == []


def test_only_general_tags_and_never_the_trigger():
    categories = [{"blue eyes": "character", "blonde hair": "general"}] * 4 + [{}]
    assert [tag for tag, *_ in proposed(categories=categories)] == ["blonde hair", "glasses"]
    assert [tag for tag, *_ in proposed(trigger="Blonde hair, x")] == ["blue eyes", "glasses"]


def test_nothing_is_found_in_nothing():
    assert proposed([]) == [] and proposed(["", "solo"]) == []


def test_pruning_takes_whole_tags_and_leaves_the_rest_as_it_is():
    keys = {"blonde hair", "blue eyes"}
    assert prune("sks,Blonde_Hair , smile", keys) == "sks, smile"
    assert prune("sks,smile , dark blonde hair", keys) == "sks,smile , dark blonde hair"
    assert prune("blue eyes", keys) == ""
    prose = "A girl stands in the rain, blonde hair, looking up."
    assert prune(prose, keys) == prose


def test_all_problems_are_reported_together():
    with pytest.raises(ValueError, match=r"percent is 0.*hairs"):
        IdentityConfig(percent=0, kinds=("hairs",))


def test_pruning_goes_line_by_line():
    assert prune("a, long hair\nlong_hair\nb", {"long hair"}) == "a\nb"
