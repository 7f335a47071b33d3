import dataclasses
from collections import Counter
from pathlib import Path

import pytest

from pack.trainer.batches.plan import (
    BatchItem,
    batches_per_epoch,
    check_own_batches,
    epoch_batches,
)
from pack.trainer.cache.latents import CachedDataset, CachedItem, LatentConfig
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.dataset.dataset import Dataset
from pack.trainer.sdxl.buckets import BucketConfig, SizeConditioning

NONE = SizeConditioning((0, 0), (0, 0), (0, 0))


def item(name, bucket=(64, 64), repeats=1, is_reg=False, flip=True):
    key = f"f{name}" if flip else None
    return CachedItem(
        name, name, "", bucket, NONE, NONE, f"k{name}", key, repeats, 1.0, is_reg, "subset"
    )


def dataset(*items):
    return CachedDataset(items, Path("store"), LatentConfig(BucketConfig(), "vae"), Dataset(()))


@pytest.fixture
def cached():
    buckets = [(64, 64), (32, 96), (96, 32)]
    return dataset(*(item(f"{i}", buckets[i % 3], 1 + i % 4) for i in range(17)))


def shown(cached, batch_size, seed, epoch):
    return [entry for batch in epoch_batches(cached, batch_size, seed, epoch) for entry in batch]


def reg_counts(cached, epoch):
    counts = Counter(cached.items[e.item_index].name for e in shown(cached, 1, 0, epoch))
    return {name: n for name, n in sorted(counts.items()) if name[0] == "r"}


@pytest.mark.parametrize("batch_size", [1, 2, 3, 50])
def test_every_picture_once_per_repeat_and_never_two_buckets(cached, batch_size):
    wanted = {(i, r) for i, entry in enumerate(cached.items) for r in range(entry.repeats)}
    for epoch in range(3):
        batches = epoch_batches(cached, batch_size, 1, epoch)
        entries = [(e.item_index, e.repeat) for batch in batches for e in batch]
        assert len(entries) == len(wanted) and set(entries) == wanted
        assert all(len({cached.items[e.item_index].bucket for e in b}) == 1 for b in batches)
        assert all(1 <= len(batch) <= batch_size for batch in batches)
        assert len(batches) == batches_per_epoch(cached, batch_size)


def test_only_the_last_batch_of_a_bucket_is_smaller(cached):
    sizes = Counter(
        cached.items[b[0].item_index].bucket for b in epoch_batches(cached, 4, 0, 0) if len(b) < 4
    )
    assert max(sizes.values(), default=0) <= 1


def test_the_plan_is_a_function_of_seed_and_epoch(cached):
    assert epoch_batches(cached, 2, 3, 4) == epoch_batches(cached, 2, 3, 4)
    plans = {epoch_batches(cached, 2, seed, epoch) for seed in range(4) for epoch in range(4)}
    assert len(plans) == 16


def test_order_is_shuffled_within_and_across_buckets(cached):
    firsts = {
        cached.items[epoch_batches(cached, 2, 0, e)[0][0].item_index].bucket for e in range(20)
    }
    assert len(firsts) == 3
    pairs = {frozenset(e.item_index for e in epoch_batches(cached, 2, 0, n)[0]) for n in range(20)}
    assert len(pairs) > 10


def test_batches_are_made_up_anew_in_every_epoch(cached):
    def makeup(epoch):
        return {frozenset(e[:2] for e in batch) for batch in epoch_batches(cached, 2, 0, epoch)}

    assert len(makeup(0) & makeup(1)) < len(makeup(0)) / 2


def test_flips_are_fair_and_only_where_cached(cached):
    flips = [entry.flipped for epoch in range(20) for entry in shown(cached, 2, 0, epoch)]
    assert 0.42 < sum(flips) / len(flips) < 0.58
    one = dataset(item("a"))
    assert {shown(one, 1, 0, epoch)[0].flipped for epoch in range(20)} == {True, False}
    plain = dataset(item("a", flip=False))
    assert shown(plain, 1, 0, 0) == [BatchItem(0, 0, False)]
    assert not any(shown(plain, 1, 0, epoch)[0].flipped for epoch in range(20))


def test_flips_do_not_depend_on_the_batch_size(cached):
    assert set(shown(cached, 1, 0, 0)) == set(shown(cached, 5, 0, 0))


def test_few_regularisation_pictures_are_repeated_as_kohya_does():
    dogs = [item("a", repeats=5), item("b", repeats=5)]
    few = dataset(*dogs, *(item(f"r{i}", is_reg=True) for i in (1, 2, 3)))
    assert reg_counts(few, 0) == {"r1": 4, "r2": 3, "r3": 3}
    assert reg_counts(few, 1) == {"r1": 3, "r2": 4, "r3": 3}
    assert reg_counts(few, 3) == reg_counts(few, 0)


def test_surplus_regularisation_pictures_take_turns():
    many = dataset(
        item("a", repeats=2), *(item(f"r{i}", is_reg=True, repeats=4) for i in (1, 2, 3))
    )
    assert reg_counts(many, 0) == {"r1": 4}
    assert [list(reg_counts(many, e)) for e in range(5)] == [["r1"], ["r2"], ["r3"], ["r1"], ["r2"]]
    some = dataset(item("a", repeats=3), *(item(f"r{i}", is_reg=True) for i in range(5)))
    total = Counter()
    for epoch in range(5):
        assert sum(reg_counts(some, epoch).values()) == 3
        total.update(reg_counts(some, epoch))
    assert set(total.values()) == {3}


def test_epochs_may_differ_in_length_with_turns():
    turning = dataset(
        item("a", (64, 64)), item("r1", (64, 64), is_reg=True), item("r2", (32, 96), is_reg=True)
    )
    assert [batches_per_epoch(turning, 2, epoch) for epoch in range(3)] == [1, 2, 1]


def test_wrong_arguments_and_nothing_to_train_are_told(cached):
    with pytest.raises(ValueError, match="Batch size must be at least 1"):
        epoch_batches(cached, 0, 0, 0)
    with pytest.raises(ValueError, match="no image to train on"):
        epoch_batches(dataset(item("r", is_reg=True)), 1, 0, 0)


def test_more_samples_than_an_epoch_can_have_are_refused():
    with pytest.raises(
        ValueError, match="An epoch would have 3000000000 samples, allowed: 5000000"
    ):
        batches_per_epoch(dataset(item("a", repeats=10**9), item("b", repeats=2 * 10**9)), 2)


def test_images_with_batches_or_a_strength_of_their_own_share_none():
    plain = [item(f"p{number}") for number in range(5)]
    large = [dataclasses.replace(item(f"l{number}"), batch_size=4) for number in range(6)]
    weak = [dataclasses.replace(item(f"w{number}"), strength=0.5) for number in range(3)]
    cached = dataset(*plain, *large, *weak)
    batches = epoch_batches(cached, 2, 1, 0)
    sizes = {name: [] for name in "plw"}
    for batch in batches:
        (kind,) = {cached.items[entry.item_index].name[0] for entry in batch}
        sizes[kind].append(len(batch))
        assert {entry.strength for entry in batch} == {0.5 if kind == "w" else 1.0}
    assert {kind: sorted(found) for kind, found in sizes.items()} == {
        "p": [1, 2, 2], "l": [2, 4], "w": [1, 2],
    }  # fmt: skip
    assert batches_per_epoch(cached, 2) == len(batches)


def test_larger_batches_of_their_own_are_not_stepped_within_backward():
    """They are cut to the size that memory is planned for, and each piece would be a step."""
    cached = dataset(item("a"), dataclasses.replace(item("b"), batch_size=3))
    fused = LoraConfig(algorithm="full", fused_backward=True)
    with pytest.raises(ValueError, match=r"one backward a step.*set that to 3 or more"):
        check_own_batches(cached, TrainConfig(batch_size=2, lora=fused))
    check_own_batches(cached, TrainConfig(batch_size=3, lora=fused))
    check_own_batches(cached, TrainConfig(batch_size=2))


def test_only_what_is_not_as_everywhere_changes_the_plan_and_the_identity(cached):
    own = dataclasses.replace(cached.items[0], batch_size=2), *cached.items[1:]
    weak = dataclasses.replace(cached.items[0], strength=0.5), *cached.items[1:]
    assert len({cached.identity(), dataset(*own).identity(), dataset(*weak).identity()}) == 3
