import dataclasses
import itertools
from collections import Counter

import pytest
import torch

from pack.tests.trainer.tiny_cache import FINGERPRINT, encode, make_cache, make_item, make_latents
from pack.trainer.batches.plan import BatchItem, batches_per_epoch
from pack.trainer.batches.training_data import TrainingData
from pack.trainer.cache.encoding import KIND
from pack.trainer.cache.texts import KIND as TEXT
from pack.trainer.cache.texts import text_key
from pack.trainer.config.train import TrainConfig
from pack.trainer.files.store import Store
from pack.trainer.sdxl.constants import VAE_SCALE
from pack.trainer.sdxl.size_embedding import size_vector


@pytest.fixture
def cached(tmp_path):
    items = (
        make_item(0, flip=True),
        make_item(1, flip=True, weight=0.5),
        make_item(2, (96, 64), repeats=2),
        make_item(3, repeats=3),
        make_item(4, (96, 64)),
        make_item(5, (96, 64)),
    )
    return make_cache(tmp_path, *items)


def epoch_of(data, config, number):
    steps = itertools.takewhile(lambda step: step[0] <= number, data.steps(config))
    return [batches for epoch, batches, _ in steps if epoch == number]


def test_a_batch_is_what_was_cached(cached):
    batch = TrainingData(cached, FINGERPRINT).load([BatchItem(1, 0, False), BatchItem(3, 2, False)])
    for row, number in enumerate((1, 3)):
        latents = make_latents(number, (64, 64)) * 0.13025
        torch.testing.assert_close(batch.latents[row], latents, rtol=1e-6, atol=0)
        context, pooled = encode(f"caption {number}")
        assert torch.equal(batch.context[row], context)
        size = (100 + number, 200, number, 2, 64, 64)
        assert torch.equal(batch.y[row], size_vector(pooled[None], [size])[0])
    assert batch.weights.tolist() == [0.5, 1.0]
    assert batch.items == (BatchItem(1, 0, False), BatchItem(3, 2, False))
    assert {batch.latents.dtype, batch.weights.dtype, batch.y.dtype} == {torch.float32}


def test_a_flip_has_the_latents_and_the_crop_of_the_mirrored_picture(cached):
    data = TrainingData(cached, FINGERPRINT)
    batch = data.load([BatchItem(1, 0, True), BatchItem(1, 0, False)])
    flipped, plain = make_latents(1, (64, 64), flipped=True), make_latents(1, (64, 64))
    assert torch.equal(batch.latents, torch.stack([flipped, plain]) * VAE_SCALE)
    pooled = encode("caption 1")[1].expand(2, -1)
    sizes = [(101, 200, 1, 9, 64, 64), (101, 200, 1, 2, 64, 64)]
    assert torch.equal(batch.y, size_vector(pooled, sizes))


def test_contexts_of_different_lengths_are_repeated(tmp_path):
    def by_number(caption):
        return encode(caption, tokens=4 if caption.endswith("0") else 6)

    cached = make_cache(tmp_path, make_item(0), make_item(1), encode=by_number)
    batch = TrainingData(cached, FINGERPRINT).load([BatchItem(0, 0, False), BatchItem(1, 0, False)])
    assert batch.context.shape[:2] == (2, 12)
    assert torch.equal(batch.context[0], by_number("caption 0")[0].repeat(3, 1))
    assert torch.equal(batch.context[1], by_number("caption 1")[0].repeat(2, 1))


def test_parts_of_a_batch_are_its_rows(cached):
    items = [BatchItem(3, repeat, False) for repeat in range(3)] + [BatchItem(0, 0, True)]
    batch = TrainingData(cached, FINGERPRINT).load(items)
    parts = list(batch.split(3))
    assert [len(part.items) for part in parts] == [3, 1]
    for name in ("latents", "context", "y", "weights"):
        assert torch.equal(torch.cat([getattr(p, name) for p in parts]), getattr(batch, name))
    assert parts[0].items + parts[1].items == tuple(items)
    (whole,) = batch.split(9)
    assert whole.items == batch.items


def test_a_batch_moves_as_a_whole(cached):
    batch = TrainingData(cached, FINGERPRINT).load([BatchItem(0, 0, False)])
    moved = batch.to(torch.device("meta"))
    tensors = [v for v in vars(moved).values() if isinstance(v, torch.Tensor)]
    assert len(tensors) == 4 and all(tensor.is_meta for tensor in tensors)
    assert moved.items == batch.items


@pytest.mark.parametrize(("batch_size", "accumulation"), [(1, 1), (2, 1), (2, 2), (3, 4), (1, 9)])
def test_an_epoch_shows_every_picture_once_per_repeat(cached, batch_size, accumulation):
    data = TrainingData(cached, FINGERPRINT)
    config = TrainConfig(batch_size=batch_size, accumulation=accumulation, seed=4)
    for epoch in range(3):
        steps = epoch_of(data, config, epoch)
        shown = Counter(item[:2] for step in steps for batch in step for item in batch)
        wanted = {(i, r) for i, item in enumerate(cached.items) for r in range(item.repeats)}
        assert shown == Counter(wanted)


@pytest.mark.parametrize("accumulation", [1, 2, 3, 4])
def test_accumulation_never_crosses_an_epoch(cached, accumulation):
    config = TrainConfig(batch_size=2, accumulation=accumulation)
    batches = batches_per_epoch(cached, 2)
    assert batches == 5
    for epoch in range(2):
        sizes = [len(s) for s in epoch_of(TrainingData(cached, FINGERPRINT), config, epoch)]
        assert sum(sizes) == batches and all(size == accumulation for size in sizes[:-1])
        assert 1 <= sizes[-1] <= accumulation


def test_epochs_follow_one_another_and_the_order_is_the_seeds(cached):
    data = TrainingData(cached, FINGERPRINT)

    def first(seed, count=20):
        return list(itertools.islice(data.steps(TrainConfig(seed=seed)), count))

    assert [s.epoch for s in first(0)] == sorted(s.epoch for s in first(0))
    assert first(0) == first(0) and first(0) != first(1)


def test_missing_names_the_pictures(cached):
    data, store = TrainingData(cached, FINGERPRINT), Store(cached.store_root)
    assert data.missing(TrainConfig()) == []
    assert TrainingData(cached, "other clip").missing(TrainConfig()) == [
        item.name for item in cached.items
    ]
    store.path(KIND, cached.items[3].latent_key).unlink()
    store.path(KIND, cached.items[1].flipped_key).unlink()
    text = store.path(TEXT, text_key(FINGERPRINT, "caption 5"))
    text.write_bytes(text.read_bytes()[:-1])
    assert data.missing(TrainConfig()) == ["data/1.png", "data/3.png", "data/5.png"]


@pytest.mark.parametrize(
    ("what", "kind"), [("latents", KIND), ("encoded caption", TEXT)], ids=["latents", "text"]
)
def test_what_vanishes_while_training_is_named(cached, what, kind):
    store = Store(cached.store_root)
    item = cached.items[2]
    key = item.latent_key if kind == KIND else text_key(FINGERPRINT, item.caption)
    store.path(kind, key).unlink()
    with pytest.raises(ValueError, match=rf"cached {what} of data/2\.png vanished"):
        TrainingData(cached, FINGERPRINT).load([BatchItem(2, 0, False)])


def test_a_picture_that_was_cached_without_flip_is_not_asked_for_one(cached):
    plain = dataclasses.replace(cached.items[0], flipped_key=None)
    cached = dataclasses.replace(cached, items=(plain,))
    batch = TrainingData(cached, FINGERPRINT).load([BatchItem(0, 0, True)])
    assert torch.equal(batch.latents[0], make_latents(0, (64, 64)) * VAE_SCALE)
