"""Latents of subsets with options of their own, and of several resolutions."""

import dataclasses

import pytest
import torch

from pack.tests.trainer.tiny_pictures import BUCKETS, RECIPE, Encoder, write_pictures
from pack.trainer.batches.plan import epoch_batches
from pack.trainer.cache import latents
from pack.trainer.cache.latents import cache_latents
from pack.trainer.config.captions import CaptionConfig
from pack.trainer.dataset.scan import scan_folder
from pack.trainer.dataset.subsets import SubsetConfig, merged, with_options
from pack.trainer.files.store import Store


@pytest.fixture
def root(tmp_path):
    return write_pictures(tmp_path / "data")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


def test_every_picture_comes_once_more_at_each_further_resolution(root, store):
    more = (BUCKETS.at(32), BUCKETS)
    cached = cache_latents(
        scan_folder(root), dataclasses.replace(RECIPE, more_buckets=more), Encoder(), store
    )
    alone = [
        cache_latents(scan_folder(root), dataclasses.replace(RECIPE, buckets=b), Encoder(), store)
        for b in (BUCKETS, *more)
    ]
    assert cached.items == tuple(item for one in alone for item in one.items)
    assert {item.bucket for item in cached.items[5:10]} == {(32, 32)}
    assert cached.identity() != alone[0].identity()


def test_the_same_bucket_at_two_resolutions_is_encoded_once(root, store):
    encoder = Encoder()
    recipe = dataclasses.replace(RECIPE, more_buckets=(BUCKETS,))
    cached = cache_latents(scan_folder(root), recipe, encoder, store)
    assert encoder.pictures == 5 and len(cached.items) == 10


def test_a_subset_flips_and_resizes_as_it_says(root, store):
    dataset = scan_folder(root)
    (subset,) = dataset.subsets

    def made(whole, **options):
        changed = dataclasses.replace(subset, **options)
        recipe = dataclasses.replace(RECIPE, flip=whole)
        one = dataclasses.replace(dataset, subsets=(changed,))
        return cache_latents(one, recipe, Encoder(), store)

    assert all(item.flipped_key for item in made(False, flip=True).items)
    assert not any(item.flipped_key for item in made(True, flip=False).items)
    assert all(item.flipped_key for item in made(True).items)
    plain, boxed = made(False), made(False, interpolation="nearest")
    whole = cache_latents(
        dataset, dataclasses.replace(RECIPE, interpolation="nearest"), Encoder(), store
    )
    assert [i.latent_key for i in boxed.items] == [i.latent_key for i in whole.items]
    differ = [
        not torch.equal(
            store.load(latents.KIND, a.latent_key)["latents"],
            store.load(latents.KIND, b.latent_key)["latents"],
        )
        for a, b in zip(plain.items, boxed.items, strict=True)
    ]
    assert any(differ)


@pytest.mark.parametrize(
    "options",
    [
        {"captions": CaptionConfig(shuffle=True)},
        {"captions": CaptionConfig()},
        {"optional_tags": ("a",)},
        {"optional_tags": ("a",), "optional_rate": 0.9},
    ],
)
def test_options_of_captions_are_part_of_the_identity(root, store, options):
    dataset = scan_folder(root)
    (subset,) = dataset.subsets
    changed = dataclasses.replace(dataset, subsets=(dataclasses.replace(subset, **options),))
    one, other = (cache_latents(d, RECIPE, Encoder(), store) for d in (dataset, changed))
    assert one.identity() != other.identity()
    rate = dataclasses.replace(changed.subsets[0], optional_rate=0.1)
    again = cache_latents(dataclasses.replace(dataset, subsets=(rate,)), RECIPE, Encoder(), store)
    assert (again.identity() != other.identity()) == ("optional_tags" in options)


def test_items_carry_what_their_subset_says_of_captions(root, store):
    dataset = scan_folder(root)
    said = {"captions": CaptionConfig(shuffle=True), "optional_tags": ("a", "b")}
    marked = dataclasses.replace(dataset.subsets[0], optional_rate=0.25, **said)
    items = cache_latents(
        dataclasses.replace(dataset, subsets=(marked,)), RECIPE, Encoder(), store
    ).items
    assert {(item.options, item.optional_tags, item.optional_rate) for item in items} == {
        (said["captions"], ("a", "b"), 0.25)
    }


def test_only_a_fraction_of_warm_up_asks_for_the_number_of_steps(root, store):
    dataset = scan_folder(root)
    (subset,) = dataset.subsets

    def needs(captions):
        one = dataclasses.replace(
            dataset, subsets=(dataclasses.replace(subset, captions=captions),)
        )
        return cache_latents(one, RECIPE, Encoder(), store).needs_horizon

    assert needs(CaptionConfig(token_warmup_steps=0.5))
    assert not needs(CaptionConfig(token_warmup_steps=5)) and not needs(None)


def test_pictures_to_preserve_are_marked_down_to_every_sample(root, store):
    """Through Dataset Options, a cache and an epoch: weight, role and target of each image's samples."""
    options = SubsetConfig(role="regularisation", loss_weight=0.25, preserve=True)
    dataset = merged([scan_folder(root), with_options(scan_folder(root), options)])
    cached = cache_latents(dataset, RECIPE, Encoder(), store)
    assert [(i.is_reg, i.weight, i.preserves) for i in cached.items] == [
        *[(False, 1.0, False)] * 5,
        *[(True, 0.25, True)] * 5,
    ]
    shown = [item for batch in epoch_batches(cached, 2, 0, 0) for item in batch]
    assert sorted((item.item_index, item.preserves) for item in shown) == [
        (index, index >= 5) for index in range(10)
    ]
    again = with_options(dataset, SubsetConfig())
    assert [subset.preserves for subset in again.subsets] == [False, True]


def test_a_subset_has_buckets_of_its_own(root, store):
    dataset = scan_folder(root)
    (subset,) = dataset.subsets
    own = dataclasses.replace(subset, buckets=BUCKETS.at(32))
    both = dataclasses.replace(dataset, subsets=(subset, own))
    cached = cache_latents(both, RECIPE, Encoder(), store)
    recipes = (RECIPE, dataclasses.replace(RECIPE, buckets=BUCKETS.at(32)))
    alone = [cache_latents(dataset, recipe, Encoder(), store) for recipe in recipes]
    assert cached.items == tuple(item for one in alone for item in one.items)
