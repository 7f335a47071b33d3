"""Filter Tags on a DATASET: captions by position, and what travels with them."""

import random
from dataclasses import replace

import pytest

from pack.nodes.host.dataset import filter_tags as captions_module
from pack.nodes.host.dataset.filter_tags import categories, filter_dataset
from pack.tagger import FilterConfig, PatternRule, split_tags, tag_key
from pack.tests.host.captioned import captions, picture, scores, subset
from pack.trainer.dataset.dataset import Dataset


def test_one_picture_in_two_subsets_keeps_its_two_captions():
    dataset = Dataset((subset(picture("a, hat")), subset(picture("b, hat"), picture("c"))))
    filtered, _ = filter_dataset(dataset, FilterConfig(trigger="sks", remove=("hat",)))
    assert captions(filtered) == ["sks, a", "sks, b", "sks, c"]
    assert filtered.trigger == "sks"


def test_regularisation_pictures_get_no_trigger_and_are_counted_apart():
    dataset = Dataset(
        (
            subset(picture("hat, coat", name="r1"), picture("hat", name="r2"), is_reg=True),
            subset(picture("hat"), picture("coat")),
            subset(picture("coat, tie", name="r3"), is_reg=True),
        ),
        trigger="old",
    )
    filtered, report = filter_dataset(dataset, FilterConfig(trigger="sks", minimum_count=2))
    assert captions(filtered) == ["hat, coat", "hat", "sks", "sks", "coat"]
    assert report.index("2 of 2 captions") < report.index("regularisation images: 1 of 3 captions")
    assert filter_dataset(dataset, FilterConfig())[0] == dataset


def test_scores_follow_their_tags():
    tags = [("blonde_hair", "general"), ("miku (vocaloid)", "character"), ("hat", "general"),
            ("sks", "character"), ("unseen", "meta"), ("explicit", "rating")]  # fmt: skip
    dataset = Dataset(
        (subset(picture(r"Blonde hair, miku \(vocaloid\), hat, sks, explicit", *tags)),)
    )
    options = FilterConfig(
        trigger="sks",
        replace=(("blonde hair", "yellow hair"),),
        patterns=(PatternRule(r"(.+) \\\((.+)\\\)", r"\1, \2"),),
        remove=("hat",),
    )
    filtered, _ = filter_dataset(dataset, options)
    assert captions(filtered) == ["sks, yellow hair, miku, vocaloid, explicit"]
    assert scores(filtered) == [
        [("yellow hair", "general"), ("miku", "character"), ("vocaloid", "character"),
         ("sks", "character"), ("unseen", "meta"), ("explicit", "rating")]
    ]  # fmt: skip
    dropped, _ = filter_dataset(filtered, FilterConfig(drop_categories=("character", "rating")))
    assert captions(dropped) == ["yellow hair"]
    assert scores(dropped) == [[("yellow hair", "general"), ("unseen", "meta")]]


def test_a_tag_keeps_its_own_category_when_another_takes_its_name():
    sample = picture("rin, len", ("rin", "character"), ("len", "general"))
    options = FilterConfig(replace=(("rin", "len"),))
    filtered, _ = filter_dataset(Dataset((subset(sample),)), options)
    assert captions(filtered) == ["len"] and scores(filtered) == [[("len", "general")]]


def test_the_first_score_of_a_tag_counts():
    sample = picture("a", ("A", "general"), ("a", "meta"))
    assert categories(sample) == {"a": "general"}


def test_optional_tags_follow_their_tags():
    samples = picture("fair hair, hat"), picture("Fair hair, coat")
    marked = subset(*samples, optional_tags=("hat", "fair hair", "Fair hair"), optional_rate=0.3)
    other = subset(picture("fair hair"))
    options = FilterConfig(replace=(("fair hair", "blonde hair"),), remove=("hat",))
    filtered, _ = filter_dataset(Dataset((marked, other)), options)
    assert [s.optional_tags for s in filtered.subsets] == [("blonde hair",), ()]
    assert filtered.subsets[0].optional_rate == 0.3
    assert filter_dataset(Dataset((marked, other)), FilterConfig())[0] == Dataset((marked, other))


def test_categories_need_a_tagger():
    dataset = Dataset((subset(picture("a")),))
    options = FilterConfig(drop_categories=("rating",))
    assert "they come from WD14 Tag" in filter_dataset(dataset, options)[1]
    tagged = replace(dataset, subsets=(subset(picture("a", ("b", "meta"))),))
    assert "WD14" not in filter_dataset(tagged, options)[1]
    assert "WD14" not in filter_dataset(dataset, FilterConfig())[1]


def test_the_red_cross_stops_between_captions(monkeypatch):
    def stop():
        raise KeyboardInterrupt

    monkeypatch.setattr(captions_module, "check_interrupt", stop)
    with pytest.raises(KeyboardInterrupt):
        filter_dataset(Dataset((subset(picture("a")),)), FilterConfig())


@pytest.mark.parametrize("seed", range(100))
def test_filtering_twice_equals_once_with_categories(seed):
    draw = random.Random(seed)
    words, kinds = ["a", "b", "c", "d", "a b"], ["general", "character", "rating"]
    samples = [
        picture(
            ", ".join(draw.choices(words, k=draw.randint(0, 5))),
            *((word, draw.choice(kinds)) for word in draw.sample(words, 3)),
        )
        for _ in range(4)
    ]
    options = FilterConfig(
        trigger=draw.choice(["", "c"]),
        replace=tuple(draw.sample([("a", "b"), ("d", "c"), ("e", "a b")], draw.randint(0, 2))),
        patterns=tuple(draw.sample([PatternRule("(a) (b)", r"\1, \2"), PatternRule("d", "e")], 1)),
        drop_categories=tuple(draw.sample(kinds, draw.randint(0, 2))),
        minimum_count=draw.randint(1, 2),
        fold_redundant=draw.random() < 0.5,
    )
    once, _ = filter_dataset(Dataset((subset(*samples),)), options)
    again, _ = filter_dataset(once, options)
    assert again == once
    for _, sample in once.samples():
        keys = {tag_key(tag) for tag in split_tags(sample.caption)} - {"c"}
        assert keys.isdisjoint(
            key for key, kind in categories(sample).items() if kind in options.drop_categories
        )
