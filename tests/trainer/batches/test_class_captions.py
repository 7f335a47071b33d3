"""Captions without the trigger."""

import dataclasses

import pytest

from pack.tests.trainer.tiny_cache import make_cache, make_item
from pack.trainer.batches.class_captions import class_caption, lasting_texts, trigger_notes
from pack.trainer.config.captions import CaptionConfig
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.dataset.dataset import Dataset


@pytest.mark.parametrize(
    ("caption", "trigger", "word", "expected"),
    [
        ("sks, solo, smile", "sks", "woman", "woman, solo, smile"),
        ("solo, sks,smile", "sks", "", "solo,smile"),
        ("sks, solo", "sks", "", "solo"),
        ("solo, sks", "sks", "", "solo"),
        ("a photo of SKS woman, 1,000 birds", "sks", "", "a photo of woman, 1,000 birds"),
        ("a photo of sks.\nShe smiles, sks", "sks", "her", "a photo of her.\nShe smiles, her"),
        ("sks_dress, sksy, a-sks", "sks", "woman", "sks_dress, sksy, a-woman"),
        ("mira (blue), mira", "mira, mira (blue)", "girl", "girl, girl"),
        ("m.x, mox", "m.x", r"\1", r"\1, mox"),
        ("solo,  smile", "sks", "woman", "solo,  smile"),
        ("sks, solo", "", "woman", "sks, solo"),
        ("sks", "sks", "", ""),
    ],
)
def test_the_trigger_is_replaced_where_it_stands_alone(caption, trigger, word, expected):
    assert class_caption(caption, trigger, word) == expected


def test_texts_for_the_cache_are_the_caption_and_the_one_without_trigger():
    item = dataclasses.replace(make_item(1), caption="sks, solo")
    loss = LossConfig(preservation=1.0, preservation_class="cat")
    assert lasting_texts(item, "sks", TrainConfig()) == ["sks, solo"]
    assert lasting_texts(item, "sks", TrainConfig(loss=loss)) == ["sks, solo", "cat, solo"]
    shuffled = TrainConfig(loss=loss, captions=CaptionConfig(shuffle=True))
    assert lasting_texts(item, "sks", shuffled) == []


def test_captions_without_the_trigger_are_counted(tmp_path):
    items = [dataclasses.replace(make_item(n), caption=c) for n, c in enumerate(["sks", "a", "b"])]
    items.append(dataclasses.replace(make_item(3), is_reg=True))
    items.append(dataclasses.replace(make_item(4), preserves=True))
    cached = make_cache(tmp_path, *items)
    cached = dataclasses.replace(cached, dataset=Dataset((), trigger="sks"))
    assert trigger_notes(cached, LossConfig(), CaptionConfig()) == []
    (note,) = trigger_notes(cached, LossConfig(preservation=0.5), CaptionConfig())
    assert "2 of 3 captions" in note and "(sks)" in note
    none = dataclasses.replace(cached, dataset=Dataset(()))
    assert "3 of 3" in trigger_notes(none, LossConfig(preservation=0.5), CaptionConfig())[0]
    whole = dataclasses.replace(cached, items=cached.items[:1])
    assert trigger_notes(whole, LossConfig(preservation=0.5), CaptionConfig()) == []


def test_a_trigger_counts_in_what_is_shown(tmp_path):
    """That is the first of several lines, with the prefix."""
    item = dataclasses.replace(make_item(0), caption="a\nsks, b")
    cached = dataclasses.replace(make_cache(tmp_path, item), dataset=Dataset((), trigger="sks"))
    on = LossConfig(preservation=0.5)
    assert "1 of 1 captions" in trigger_notes(cached, on, CaptionConfig())[0]
    for options in (CaptionConfig(pick_line=True), CaptionConfig(prefix="sks")):
        assert trigger_notes(cached, on, options) == []
