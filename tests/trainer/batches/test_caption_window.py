import dataclasses
import itertools

import pytest
import torch

from pack.tests.trainer.tiny_cache import FINGERPRINT, encode, make_cache, make_item
from pack.tests.trainer.tiny_run import Run
from pack.trainer.batches.caption_window import CaptionWindow
from pack.trainer.batches.class_captions import lasting_texts
from pack.trainer.batches.tag_shares import tag_shares
from pack.trainer.batches.training_data import TrainingData
from pack.trainer.cache.texts import cache_texts
from pack.trainer.config.captions import CaptionConfig
from pack.trainer.config.embedding import EmbeddingConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.dataset.dataset import Dataset
from pack.trainer.files.store import Store

SHUFFLED = TrainConfig(steps=12, batch_size=2, seed=5, captions=CaptionConfig(shuffle=True))


@pytest.fixture
def data(tmp_path):
    items = [
        dataclasses.replace(make_item(number), caption=f"a{number}, b, c, d, e")
        for number in range(4)
    ]
    return TrainingData(make_cache(tmp_path, *items), FINGERPRINT)


def texts_of(data, config):
    steps = itertools.islice(data.steps(config), config.steps)
    return [[item.text for batch in batches for item in batch] for _, batches, _ in steps]


def run_through(data, config, texts):
    """Every step with the window kept filled, the next one begun; what was encoded, in order."""
    window, encoded = CaptionWindow(data, config, texts=texts), []

    def remember(text):
        encoded.append(text)
        return encode(text)

    fills = 0
    plan = [batches for _, batches, _ in itertools.islice(data.steps(config), config.steps)]
    for step, (batches, ahead) in enumerate(zip(plan, [*plan[1:], []], strict=True)):
        if window.is_due(step):
            window.fill(remember)
            fills += 1
        for items in [*batches, *ahead]:
            batch = data.load(items)
            for row, item in enumerate(items):
                assert torch.equal(batch.context[row], encode(item.text)[0])
    assert not window.is_due(config.steps)
    return encoded, fills


def test_the_text_of_a_sample_is_the_seeds(data):
    first = texts_of(data, SHUFFLED)
    assert first == texts_of(data, SHUFFLED)
    assert first != texts_of(data, dataclasses.replace(SHUFFLED, seed=6))
    tags = [sorted(text.split(", ")) for step in first for text in step]
    assert all(row[1:] == ["b", "c", "d", "e"] for row in tags)
    assert len({text for step in first for text in step}) > 12


def test_a_text_follows_from_the_epoch_and_the_sample_not_from_the_batches(data):
    def by_sample(config):
        steps = itertools.islice(data.steps(config), 24 // config.batch_size)
        return {
            (epoch, item.item_index, item.repeat): item.text
            for epoch, batches, _ in steps
            for batch in batches
            for item in batch
        }

    alone = dataclasses.replace(SHUFFLED, batch_size=1)
    assert by_sample(SHUFFLED) == by_sample(alone)


@pytest.mark.parametrize(("texts", "most"), [(1, 12), (5, 5), (1000, 1)])
def test_every_step_finds_its_texts_however_small_the_window(data, texts, most):
    encoded, fills = run_through(data, SHUFFLED, texts)
    assert 1 <= fills <= most
    wanted = {text for step in texts_of(data, SHUFFLED) for text in step}
    assert set(encoded) == wanted
    if texts == 1000:
        assert len(encoded) == len(wanted) and len(data.window) == len(wanted)


def test_what_the_next_window_needs_again_is_not_encoded_again(data):
    dropped = dataclasses.replace(SHUFFLED, captions=CaptionConfig(dropout=0.6))
    encoded, fills = run_through(data, dropped, 2)
    assert fills > 1
    assert encoded.count("") < fills


def test_captions_that_stay_the_same_need_no_window(data):
    plain = dataclasses.replace(SHUFFLED, captions=CaptionConfig(keep_tokens=2))
    assert not data.varies(plain.captions)
    assert not CaptionWindow(data, plain).is_due(0)


def test_a_subset_of_its_own_options_and_optional_tags_count(tmp_path):
    items = [
        dataclasses.replace(make_item(0), options=CaptionConfig(prefix="own")),
        dataclasses.replace(make_item(1), optional_tags=("caption 1",), optional_rate=1.0),
        make_item(2),
    ]
    data = TrainingData(make_cache(tmp_path, *items), FINGERPRINT)
    config = TrainConfig(steps=3, captions=CaptionConfig(prefix="all"), batch_size=3)
    assert data.varies(CaptionConfig())
    shown = {item.item_index: item.text for item in next(data.steps(config))[1][0]}
    assert shown == {0: "own caption 0", 1: "all ", 2: "all caption 2"}


def test_variants_are_encoded_once_and_drawn_at_each_use(tmp_path):
    config = TrainConfig(steps=40, seed=5, captions=CaptionConfig(pick_line=True))
    variants = dataclasses.replace(make_item(0), caption="tags, a\nA sentence.")
    cached = make_cache(tmp_path, variants, make_item(1))
    data = TrainingData(cached, FINGERPRINT)
    assert not data.varies(config.captions) and data.missing(config) == ["data/0.png"]
    texts = lasting_texts(variants, "", config)
    assert texts == ["tags, a", "A sentence."]
    assert cache_texts(texts, encode, Store(tmp_path), FINGERPRINT) == 2
    assert data.missing(config) == [] and not CaptionWindow(data, config).is_due(0)
    shown = [text for step in texts_of(data, config) for text in step]
    assert {*shown} == {*texts, "caption 1"} and min(map(shown.count, texts)) > 5
    assert shown == [text for step in texts_of(data, config) for text in step]
    other = dataclasses.replace(config, seed=6)
    assert shown != [text for step in texts_of(data, other) for text in step]
    for _, batches, _ in itertools.islice(data.steps(config), 4):
        for items in batches:
            batch = data.load(items)
            assert torch.equal(batch.context[0], encode(items[0].text)[0])
    first_only = TrainConfig(steps=4)
    assert {t for step in texts_of(data, first_only) for t in step} == {"tags, a", "caption 1"}


def test_frequent_tags_drop_from_the_trained_images_only(tmp_path):
    captions = ["sks, hat, day", "sks, hat, night", "sks, hat, sea", "alone, hat"]
    items = [dataclasses.replace(make_item(n), caption=c) for n, c in enumerate(captions)]
    items.append(dataclasses.replace(make_item(4), caption="a, hat", is_reg=True))
    cached = make_cache(tmp_path, *items)
    cached = dataclasses.replace(cached, dataset=Dataset((), trigger="sks"))
    options = CaptionConfig(frequent_dropout=1.0)
    assert tag_shares(cached, options) == {
        "hat": 1.0, "day": pytest.approx(1 / 3), "night": pytest.approx(1 / 3),
        "sea": pytest.approx(1 / 3),
    }  # fmt: skip
    assert tag_shares(cached, CaptionConfig()) == {}
    config = TrainConfig(steps=30, captions=options)
    data = TrainingData(cached, FINGERPRINT)
    assert data.varies(options)
    shown = [text for step in texts_of(data, config) for text in step]
    assert [text for text in shown if "hat" in text] == ["a, hat"] * shown.count("a, hat")
    assert "a, hat" in shown and "alone" in shown and {"sks", "sks, day"} <= {*shown}


@pytest.mark.parametrize("token", ["my_cat", ""])
def test_what_is_taught_is_no_frequent_tag(tmp_path, token):
    """Neither the token of an embedding nor the trigger, also where a tag has more words."""
    captions = [f"My_Cat, photo of my cat, embedding:my_cat, hat, {n}" for n in range(3)]
    items = [dataclasses.replace(make_item(n), caption=c) for n, c in enumerate(captions)]
    cached = make_cache(tmp_path, *items)
    if not token:
        cached = dataclasses.replace(cached, dataset=Dataset((), trigger="my_cat"))
    captions = CaptionConfig(frequent_dropout=1.0)
    assert tag_shares(cached, captions, token).keys() == {"hat", "0", "1", "2"}
    config = TrainConfig(steps=3, captions=captions, embedding=EmbeddingConfig(token))
    for step in texts_of(TrainingData(cached, FINGERPRINT), config):
        assert all(t.startswith("My_Cat, photo of my cat, embedding:my_cat") for t in step)


def test_epochs_count_from_one_and_steps_from_zero(data):
    def shown(steps, **options):
        return texts_of(data, TrainConfig(steps=steps, captions=CaptionConfig(**options)))

    every_second = shown(8, dropout_every_n_epochs=2)  # two steps an epoch
    assert [set(step) == {""} for step in every_second] == [False, False, True, True] * 2
    warmed = shown(6, token_warmup_steps=4)
    assert [max(text.count(",") + 1 for text in step) for step in warmed] == [1, 2, 3, 4, 5, 5]


def test_an_encoding_that_is_not_finite_names_its_caption(data):
    with pytest.raises(ValueError, match="non-finite numbers for the caption 'a"):
        CaptionWindow(data, SHUFFLED).fill(lambda text: (torch.full((1, 1), torch.nan),) * 2)


def test_a_run_that_goes_on_encodes_from_there(data):
    start = 3
    window, encoded = CaptionWindow(data, SHUFFLED, start, texts=4), []
    assert window.end == start and window.is_due(start)
    window.fill(lambda text: (encoded.append(text), encode(text))[1])
    samples = texts_of(data, SHUFFLED)[start : window.end]
    assert len(samples) >= 1
    assert encoded == list(dict.fromkeys(text for texts in samples for text in texts))


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_run_finds_the_texts_of_the_step_that_it_prepares(data, accumulation):
    """With the smallest window as with one that holds all."""
    config = dataclasses.replace(SHUFFLED, steps=7, batch_size=1, accumulation=accumulation)
    losses = []
    for texts in (1, 1000):
        run = Run(data._dataset, config)
        window = CaptionWindow(run.data, config, texts=texts)
        window.fill(encode)

        def refill(event, window=window):
            if window.is_due(event.step):
                window.fill(encode)

        run.observer.at_step = refill
        losses.append(run.go().losses)
    assert losses[0] == losses[1]
