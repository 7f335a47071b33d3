"""Tags of taggers with a tag_mapping.json: eight categories, by probability, against a plain reference."""

import itertools
import json

import numpy as np
import pytest

from pack.tagger import NEVER, Label, Labels, TagConfig, read_labels, select

CATEGORIES = ("rating", "general", "character", "copyright", "meta", "model", "quality", "artist")
WITH_THRESHOLD = ("general", "character", "copyright", "meta", "model", "artist")


@pytest.fixture
def labels():
    """Five tags of each category, mixed, with two outputs that have no name."""
    names = [f"{category}_{i}_(x)" for i in range(5) for category in CATEGORIES]
    entries = [Label(name, name.split("_")[0]) for name in names]
    entries[7:7] = [Label("", None)]
    return Labels((*entries, Label("", None)), "json")


def reference(row, labels, thresholds, quality="off", rating="off", character_tags_first=False):
    """The names in the script's order for this layout, by its description."""
    rows = [(float(p), *label) for p, label in zip(row, labels.entries, strict=True)]
    taken = [r for r in rows if r[2] in thresholds and r[0] >= np.float32(thresholds[r[2]])]
    taken.sort(key=lambda r: -r[0])
    if character_tags_first:
        taken.sort(key=lambda r: r[2] != "character")
    names = [name for _, name, _ in taken]
    for category, place in (("quality", quality), ("rating", rating)):
        best = max((r for r in rows if r[2] == category), key=lambda r: r[0])[1]
        if place == "first":
            names.insert(0, best)
        elif place == "last":
            names.append(best)
    return names


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize(
    ("quality", "rating"), list(itertools.product(["off", "first", "last"], repeat=2))
)
def test_order_and_places(labels, quality, rating, first):
    generator = np.random.default_rng(3)
    for _ in range(10):
        row = generator.random(len(labels), np.float32)
        limits = dict(zip(WITH_THRESHOLD, generator.uniform(0.1, 1.1, 6).tolist(), strict=True))
        options = TagConfig(
            **{f"{category}_threshold": value for category, value in limits.items()},
            quality=quality,
            rating=rating,
            character_tags_first=first,
            remove_underscore=False,
        )
        tags = select(row, labels, options)
        assert [t.name for t in tags] == reference(row, labels, limits, quality, rating, first)
        assert all(tag.name.startswith(f"{tag.category}_") for tag in tags)
        table = {label.name: p for label, p in zip(labels.entries, row.tolist(), strict=True)}
        assert [tag.probability for tag in tags] == [table[tag.name] for tag in tags]


def test_by_default_only_general_tags_are_taken(labels):
    row = np.ones(len(labels), np.float32)
    assert {tag.category for tag in select(row, labels, TagConfig())} == {"general"}


@pytest.mark.parametrize("category", WITH_THRESHOLD)
def test_each_threshold_is_its_own(labels, category):
    off = {f"{name}_threshold": NEVER for name in WITH_THRESHOLD}
    row = np.linspace(0, 1, len(labels), dtype=np.float32)
    options = TagConfig(**{**off, f"{category}_threshold": 0.5})
    tags = select(row, labels, options)
    assert tags and {tag.category for tag in tags} == {category}
    assert min(tag.probability for tag in tags) >= 0.5


def test_an_output_without_a_name_is_no_tag(labels):
    row = np.zeros(len(labels), np.float32)
    row[[7, len(labels) - 1]] = 1
    assert select(row, labels, TagConfig(rating="off")) == ()


def test_ties_keep_the_order_of_the_list():
    labels = Labels(tuple(Label(name, "general") for name in "cab"), "json")
    tags = select(np.full(3, 0.5, np.float32), labels, TagConfig())
    assert [tag.name for tag in tags] == ["c", "a", "b"]


def test_lists_and_spelling_hold_for_every_category(labels):
    options = TagConfig(
        artist_threshold=0,
        general_threshold=0,
        undesired=("artist 1 (x)", "quality 4 (x)"),
        always_first=("artist 3 (x)",),
        quality="first",
    )
    row = np.linspace(0, 1, len(labels), dtype=np.float32)
    names = [tag.name for tag in select(row, labels, options)]
    assert names[0] == "artist 3 (x)" and "artist 1 (x)" not in names
    assert not any(name.startswith("quality") for name in names)  # nothing takes its place


def test_expanding_touches_characters_only(labels):
    thresholds = {"character_threshold": 0, "copyright_threshold": 0, "general_threshold": NEVER}
    options = TagConfig(**thresholds, character_tag_expand=True)
    names = [t.name for t in select(np.ones(len(labels), np.float32), labels, options)]
    assert {"character 0", "x", "copyright 0 (x)"} <= set(names) and names.count("x") == 1


def test_the_file_is_read(tmp_path):
    path = tmp_path / "tag_mapping.json"
    mapping = {
        "3": {"tag": "long_hair", "category": "General"},
        "0": {"tag": "safe", "category": "Rating"},
        "1": {"tag": "best quality", "category": "Quality", "more": 1},
    }
    path.write_text(json.dumps(mapping), encoding="utf-8")
    assert read_labels(path) == Labels(
        (
            Label("safe", "rating"),
            Label("best quality", "quality"),
            Label("", None),
            Label("long_hair", "general"),
        ),
        "json",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[]", "must be an object"),
        ("{}", "lists no tags"),
        ('{"x": {"tag": "a", "category": "General"}}', "entry 'x'"),
        ('{"99999999": {"tag": "a", "category": "General"}}', "entry '99999999'"),
        ('{"0": {"tag": "a", "category": "Species"}}', "Species"),
        ('{"0": {"tag": "a", "category": ["General"]}}', "among Rating, General"),
        ('{"0": {"category": "General"}}', "needs a number as its name, a tag"),
        ('{"0": "a"}', "entry '0'"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, text, message):
    path = tmp_path / "tag_mapping.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_labels(path)
