"""The texts that an embedding is trained with."""

import dataclasses
from collections import Counter

import pytest

from pack.tests.trainer.tiny_cache import make_cache, make_item
from pack.trainer.batches.embedding_captions import check_token, shown_text, token_pattern
from pack.trainer.batches.training_data import TrainingData
from pack.trainer.config.captions import CaptionConfig
from pack.trainer.config.embedding import EmbeddingConfig
from pack.trainer.config.train import TrainConfig

SETTINGS = EmbeddingConfig("sks", templates="a photo of {}\nthe {}")


def cached(tmp_path, *captions, **more):
    items = [
        dataclasses.replace(make_item(number), caption=caption, **more)
        for number, caption in enumerate(captions)
    ]
    return make_cache(tmp_path, *items)


def texts(dataset, settings, **config):
    config = TrainConfig(batch_size=1, embedding=settings, **config)
    steps, data = 40, TrainingData(dataset, "texts", live_texts=True)
    found = Counter()
    for _, step in zip(range(steps), data.steps(config), strict=False):
        found.update(item.text for batch in step.batches for item in batch)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sks", "X"), ("a SKS, red", "a X, red"), ("(sks:1.2)", "(X:1.2)"),
        ("embedding:sks here", "X here"), ("sks's", "X's"), ("sksy asks sks-2 my-sks", "sksy asks sks-2 my-sks"),
    ],
)  # fmt: skip
def test_the_token_is_a_word_of_its_own(text, expected):
    assert token_pattern("sks").sub("X", text) == expected


def test_images_without_a_caption_have_templates(tmp_path):
    found = texts(cached(tmp_path, "sks in a tree", " "), SETTINGS)
    assert found.keys() == {"sks in a tree", "a photo of sks", "the sks"}
    assert min(found.values()) > 3
    off = texts(cached(tmp_path, "sks in a tree", " "), EmbeddingConfig())
    assert off.keys() == {"sks in a tree", " "}


def test_templates_take_the_place_of_all_captions(tmp_path):
    settings = dataclasses.replace(SETTINGS, only_templates=True)
    dataset = cached(tmp_path, "a tree", "")
    assert texts(dataset, settings).keys() == {"a photo of sks", "the sks"}
    assert check_token(dataset, settings, CaptionConfig()) == []
    assert [shown_text(item, settings) for item in dataset.items] == ["a photo of sks"] * 2
    kept = cached(tmp_path / "other", "a tree", preserves=True)
    assert [shown_text(item, settings) for item in kept.items] == ["a tree"]


def test_captions_without_the_token_are_told(tmp_path):
    assert check_token(cached(tmp_path / "a", "sks", ""), SETTINGS, CaptionConfig()) == []
    (said,) = check_token(cached(tmp_path / "b", "SKS", "a tree"), SETTINGS, CaptionConfig())
    assert said.startswith("1 of 2 captions do not hold the token sks")
    without = cached(tmp_path / "c", "a tree", "a lake")
    with pytest.raises(ValueError, match="no caption that is used holds the token sks"):
        check_token(without, SETTINGS, CaptionConfig())
    assert check_token(without, SETTINGS, CaptionConfig(prefix="sks")) == []


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shuffle": True},
        {"pick_line": True, "dropout": 1.0},
        {"wildcards": True, "dropout_every_n_epochs": 1},
    ],
)
def test_a_token_in_a_line_that_is_never_shown_is_none(tmp_path, options):
    dataset = cached(tmp_path, "a tree\nsks in a tree")
    with pytest.raises(ValueError, match="no caption that is used holds the token sks"):
        check_token(dataset, SETTINGS, CaptionConfig(**options))


@pytest.mark.parametrize("name", ["pick_line", "wildcards"])
def test_a_token_in_a_line_that_may_be_drawn_is_one(tmp_path, name):
    dataset = cached(tmp_path, "a tree\nsks in a tree")
    assert check_token(dataset, SETTINGS, CaptionConfig(**{name: True})) == []
