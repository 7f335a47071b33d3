"""Every node and function that changes tags: a caption's notation stays, and the rule holds for what is in it."""

import dataclasses
import random

import pytest
from PIL import Image

from pack.nodes.extension import NODES
from pack.nodes.host.dataset.filter_tags import filter_dataset
from pack.nodes.host.dataset.identity import identity_tags
from pack.nodes.host.dataset.monochrome import detect_monochrome
from pack.nodes.host.dataset.tag import Found, _with_tags
from pack.nodes.sockets import DatasetSocket
from pack.tagger import (
    FilterConfig,
    IdentityConfig,
    MonochromeConfig,
    PatternRule,
    Tag,
    find_identity,
    merge,
    prune,
    tag_kind,
)
from pack.tagger.captions.prose import is_prose
from pack.trainer.dataset.caption_files import write_captions
from pack.trainer.dataset.caption_rules import without_tags
from pack.trainer.dataset.export import export_kohya
from pack.trainer.dataset.scan import scan_folder

pytestmark = pytest.mark.main_host

NOTATIONS = {
    "kept tags": "sks ||| hat, day",
    "kept tags at both ends": "sks ||| hat, day ||| best",
    "another mark": "sks ### hat, day",
    "tags joined": "sks, hat;;;shoe, day",
    "a weight": "sks, (hat:1.2), day",
    "weights": "sks, ((hat)), [day]",
    "a weight of several": "sks, (hat, shoe:0.8), day",
    "a wildcard": "sks, {red|blue} dress, hat",
    "a wildcard of tags": "sks, {hat|cap}, day",
    "a wildcard of lists": "sks, {hat, shoe|cap, boots}, day",
    "lines": "sks ||| hat, day\nsks, (hat:1.2), {red|blue} dress",
    "all at once": "sks ||| (hat:1.2), {red|blue} dress;;;shoe, day ||| best",
}
"""Captions, each with a hat."""

PARTS = {
    "kept tags": "|||", "kept tags at both ends": "|||", "another mark": "###", "tags joined": ";;;", "a weight": "(hat:1.2)",
    "weights": "((hat)), [day]", "a weight of several": ":0.8)", "a wildcard": "{red|blue} dress",
    "a wildcard of tags": "{hat|cap}", "a wildcard of lists": "{hat, shoe|cap, boots}", "lines": "(hat:1.2), {red|blue} dress",
    "all at once": "||| (hat:1.2), {red|blue} dress;;;shoe",
}  # fmt: skip
"""The notation in each, which a rule about none of its tags leaves as it is."""

WITHOUT_HAT = {
    "kept tags": "sks ||| day",
    "kept tags at both ends": "sks ||| day ||| best",
    "another mark": "sks ### day",
    "tags joined": "sks, shoe, day",
    "a weight": "sks, day",
    "weights": "sks, [day]",
    "a weight of several": "sks, (shoe:0.8), day",
    "a wildcard": "sks, {red|blue} dress",
    "a wildcard of tags": "sks, cap, day",
    "a wildcard of lists": "sks, {shoe|cap, boots}, day",
    "lines": "sks ||| day\nsks, {red|blue} dress",
    "all at once": "sks ||| {red|blue} dress;;;shoe, day ||| best",
}

RULES = {
    "trigger": {"trigger": "sks"},
    "remove": {"remove": ("boat",)},
    "replace": {"replace": (("boat", "ship"),)},
    "keep_first": {"keep_first": ("sks",)},
    "drop_duplicates": {"drop_duplicates": True},
    "minimum_count": {"minimum_count": 2},
    "maximum_tags": {"maximum_tags": 20},
    "separator": {"separator": ", "},
    "patterns": {"patterns": (PatternRule("boat"),)},
    "drop_categories": {"drop_categories": ("meta",)},
    "fold_redundant": {"fold_redundant": True},
    "spare_prose": {"spare_prose": True},
}
"""Every rule of Filter Tags, about none of the tags."""


CHANGE_TAGS = {
    "LoraLoopFilterTags", "LoraLoopIdentityTags", "LoraLoopTag", "LoraLoopDetectMonochrome",
}  # fmt: skip
LEAVE_TAGS = {
    "LoraLoopCurateDataset", "LoraLoopDatasetOptions", "LoraLoopMergeDatasets", "LoraLoopTidyDataset",
    "LoraLoopSaveCaptions", "LoraLoopSetCaptions", "LoraLoopSetMasks",
}  # fmt: skip


def test_every_node_from_dataset_to_dataset_is_looked_at():
    """One that is new changes tags, and is tried below, or leaves them."""
    found = set()
    for node in NODES:
        schema = node.define_schema()
        kinds = {slot.get_io_type() for slot in schema.inputs} & {
            slot.get_io_type() for slot in schema.outputs
        }
        if DatasetSocket.io_type in kinds:
            found.add(schema.node_id)
    assert found == CHANGE_TAGS | LEAVE_TAGS


@pytest.fixture
def dataset(tmp_path):
    """An image for each notation, twice, so that no tag is rare."""
    root = tmp_path / "set"
    root.mkdir()
    for place, caption in enumerate([*NOTATIONS.values()] * 2):
        Image.new("L", (64, 64), place).save(root / f"{place:02}.png")
        (root / f"{place:02}.txt").write_text(caption, "utf-8")
    return scan_folder(root, all_lines=True)


def captions(dataset):
    return dict(zip(NOTATIONS, [s.caption for _, s in dataset.samples()], strict=False))


def test_every_rule_of_filter_tags_is_tried():
    assert RULES.keys() == {field.name for field in dataclasses.fields(FilterConfig)}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_is_about_other_tags_leaves_the_caption(dataset, rule):
    filtered, report = filter_dataset(dataset, FilterConfig(**RULES[rule]))
    assert captions(filtered) == NOTATIONS
    assert report.startswith(f"0 of {dataset.image_count} captions changed")


def test_what_takes_a_tag_away(dataset):
    keys = {"hat"}
    ways = {
        "remove": filter_dataset(dataset, FilterConfig(remove=("hat",)))[0],
        "patterns": filter_dataset(dataset, FilterConfig(patterns=(PatternRule("ha."),)))[0],
        "prune": dataset.with_captions(lambda sample: prune(sample.caption, keys)),
        "identity": identity_tags(
            dataset, IdentityConfig(extra=("hat",), percent=50), "prune", 0.5
        )[0],
        "optional tags": dataset.with_captions(
            lambda sample: without_tags(sample.caption, ("hat",), 1.0, random.Random(0))
        ),
    }
    for way, changed in ways.items():
        assert captions(changed) == WITHOUT_HAT, way


def test_categories_of_tags_in_notation(dataset):
    hat = dataset.replace_samples(
        lambda sample: dataclasses.replace(sample, tags=(Tag("hat", "meta", 0.9),))
    )
    filtered, _ = filter_dataset(hat, FilterConfig(drop_categories=("meta",)))
    assert captions(filtered) == WITHOUT_HAT
    assert not any(sample.tags for _, sample in filtered.samples())


def test_what_puts_another_tag_in_its_place(dataset):
    wanted = {name: text.replace("hat", "beret") for name, text in NOTATIONS.items()}
    for options in (
        {"replace": (("hat", "beret"),)},
        {"patterns": (PatternRule("h(a)t", "beret"),)},
    ):
        assert captions(filter_dataset(dataset, FilterConfig(**options))[0]) == wanted


@pytest.mark.parametrize("name", NOTATIONS)
def test_a_new_tag_comes_in_and_one_that_is_there_does_not(name):
    caption = NOTATIONS[name]
    for line in caption.split("\n"):
        assert merge(line, ["hat"]) == line if "hat" in line else True
        added = merge(line, ["hat", "moon"])
        assert added == tag_kind(added, None) == merge(added, ["moon"])
        assert "moon" in added and line.replace(" ||| best", "") in added
        assert added.endswith("moon ||| best" if line.endswith("||| best") else ", moon")
    assert PARTS[name] in merge(caption, ["moon"])
    assert merge(caption, ["red dress"]) == caption if name == "a wildcard" else True


def test_wd14_tag_and_detect_monochrome(dataset):
    tags = {s.digest: (Tag("hat", "general", 1.0), Tag("moon", "general", 1.0)) for _, s in dataset.samples()}  # fmt: skip
    tagged, _, _ = _with_tags(dataset, Found(tags, {}, ""), frozenset(), "append", ", ")
    assert captions(tagged) == {name: merge(text, ["moon"]) for name, text in NOTATIONS.items()}
    grey, _, _ = detect_monochrome(dataset, MonochromeConfig(), "tag", 1.0)
    assert captions(grey) == {n: merge(text, ["greyscale"]) for n, text in NOTATIONS.items()}
    assert all("greyscale" in line for text in captions(grey).values() for line in text.split("\n"))


def test_the_trigger_is_seen_in_its_notation_and_put_in_front_where_it_is_missing():
    from pack.tagger import filter_captions

    def filtered(caption):
        return filter_captions([caption], FilterConfig(trigger="sks")).captions[0]

    for caption, wanted in {
        "(sks:1.2) ||| hat": "(sks:1.2) ||| hat",
        "((sks)), hat": "((sks)), hat",
        "sks;;;1girl, hat": "sks;;;1girl, hat",
        "hat, (sks:1.2)": "(sks:1.2), hat",
        "hat ||| day": "sks, hat ||| day",
        "||| day": "sks ||| day",
        "{hat|cap}": "sks, {hat|cap}",
    }.items():
        assert filtered(caption) == wanted == filtered(wanted)


@pytest.mark.parametrize(
    ("options", "caption", "wanted"),
    [
        ({}, "hat, (hat:1.2), day", "hat, day"),
        ({}, "(hat:1.2), hat, day", "(hat:1.2), day"),
        ({}, "sks ||| hat, hat", "sks ||| hat"),
        ({}, "{hat|cap}, hat", "{hat|cap}, hat"),
        ({"fold_redundant": True}, "(white hat:1.2), hat", "(white hat:1.2)"),
        ({"fold_redundant": True}, "white hat, (hat:1.2)", "white hat"),
        ({"fold_redundant": True}, "{white hat|cap}, hat", "{white hat|cap}, hat"),
        ({"fold_redundant": True}, "{red|blue} dress, dress", "{red|blue} dress"),
        ({"trigger": "(sks:1.2)"}, "sks, a", "(sks:1.2), a"),
        ({"trigger": "(sks:1.2)"}, "(sks:1.1) ||| a", "(sks:1.2) ||| a"),
        ({"remove": ("b",)}, "a ||| b, ||| c", "a ||| ||| c"),
        ({"keep_first": ("hat",)}, "day, (hat:1.2)", "(hat:1.2), day"),
        ({"keep_first": ("hat",)}, "sks ||| day, {red|blue} hat, hat", "sks ||| hat, day, {red|blue} hat"),
        ({"maximum_tags": 2}, "sks, {hat|cap}, day", "sks, {hat|cap}"),
        ({"maximum_tags": 2}, "sks ||| hat, day", "sks ||| hat"),
        ({"patterns": (PatternRule(r"\((.*):1\.2\)", r"\1"),)}, "sks ||| (hat:1.2), day", "sks ||| hat, day"),
        ({"remove": ("(hat:1.2)",)}, "(hat:1.2), hat", "hat"),
        ({"remove": ("red dress",)}, "{red|blue} dress", "blue dress"),
        ({"remove": ("* dress",)}, "{red|blue} dress, hat", "hat"),
        ({"trigger": "sks", "spare_prose": True}, "A girl who {sits|stands} on a (chair:1.2).", "sks, A girl who {sits|stands} on a (chair:1.2)."),
    ],
)  # fmt: skip
def test_rules_hold_for_what_is_in_the_notation(options, caption, wanted):
    from pack.tagger import filter_captions

    config = FilterConfig(**options)
    once = filter_captions([caption], config).captions
    assert once == [wanted] == filter_captions(once, config).captions


def test_rare_tags_are_counted_in_their_notation():
    from pack.tagger import filter_captions

    given = ["sks ||| (hat:1.2), {red|blue} dress", "sks, hat, red dress, moon", "blue dress"]
    kept = filter_captions(given, FilterConfig(minimum_count=2)).captions
    assert kept == ["sks ||| (hat:1.2), {red|blue} dress", "sks, hat, red dress", "blue dress"]


def test_frequencies_and_identity_tags(dataset, tmp_path):
    counts = dataset.tag_frequency()["set"]
    assert counts["hat"] == 26 and counts["red dress"] == counts["blue dress"] == 6
    assert not any(mark in tag for tag in counts for mark in ("|||", "###", ";;;", "{", "("))
    found = find_identity(
        ["sks ||| (blue hair:1.2), hat", "{blue|red} hair, day"], IdentityConfig(percent=100)
    )
    assert [(tag.tag, tag.captions) for tag in found.proposed] == [("blue hair", 2)]
    hybrid, proposed, _ = identity_tags(
        dataset, IdentityConfig(extra=("hat",), percent=90), "hybrid", 1.0
    )
    assert proposed == "hat" and hybrid.subsets[0].optional_tags == ("hat",)
    assert captions(hybrid) == NOTATIONS


def test_prose_is_seen_through_notation():
    assert is_prose("sks ||| A girl who is {sitting|standing} on a (chair:1.2).")
    assert not any(map(is_prose, NOTATIONS.values()))


def test_captions_are_saved_and_exported_as_they_are(dataset, tmp_path):
    assert write_captions(dataset, tmp_path / "kept").written == ()
    filtered = filter_dataset(dataset, FilterConfig(remove=("hat",)))[0]
    write_captions(filtered, tmp_path / "kept")
    assert captions(scan_folder(tmp_path / "set", all_lines=True)) == WITHOUT_HAT
    exported = export_kohya(filtered, tmp_path, "out").folder
    (folder,) = (exported / "img").iterdir()
    assert captions(scan_folder(folder, all_lines=True)) == WITHOUT_HAT
