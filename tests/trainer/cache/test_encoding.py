"""Batches of images on their way to latents: what is encoded together, and what an error costs."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pack.tests.trainer.tiny_pictures import RECIPE, Encoder, write_pictures
from pack.trainer.cache import latents as cache
from pack.trainer.cache.decoding import batch_of
from pack.trainer.cache.encoding import LatentWriter, TooLarge
from pack.trainer.cache.latents import cache_latents, plan_latents
from pack.trainer.dataset.scan import scan_folder
from pack.trainer.files.store import Store


@pytest.fixture
def root(tmp_path):
    """Seven images: a, b, d, x and y share a bucket."""
    root = write_pictures(tmp_path / "data")
    for name, colour in (("x", (9, 200, 30)), ("y", (250, 4, 120))):
        Image.new("RGB", (64, 64), colour).save(root / f"{name}.png")
    return root


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


def stored(store):
    return sorted(store.root.rglob("*.safetensors"))


def latents(root, folder, batch_size, recipe=RECIPE):
    store = Store(folder)
    cached = cache_latents(scan_folder(root), recipe, Encoder(), store, batch_size=batch_size)
    return cached, {
        key: store.load(cache.KIND, key)["latents"]
        for item in cached.items
        for key in (item.latent_key, item.flipped_key)
        if key
    }


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("batch_size", [0, 2, 3, 64])
def test_a_latent_is_the_same_in_any_batch(root, tmp_path, batch_size, flip):
    recipe = cache.LatentConfig(RECIPE.buckets, "vae", flip=flip)
    one, alone = latents(root, tmp_path / "one", 1, recipe)
    many, together = latents(root, tmp_path / "many", batch_size, recipe)
    assert many == cache.CachedDataset(one.items, many.store_root, recipe, many.dataset)
    assert len(alone) == (14 if flip else 7) and together.keys() == alone.keys()
    for key, latent in alone.items():
        torch.testing.assert_close(together[key], latent, rtol=0, atol=1e-6)


def test_batches_are_as_large_as_asked(root, store):
    encoder = Encoder()
    cache_latents(scan_folder(root), RECIPE, encoder, store, batch_size=3)
    assert [shape[:3] for shape in encoder.shapes] == [
        (3, 64, 64), (2, 64, 64), (1, 32, 96), (1, 96, 32),
    ]  # fmt: skip


def test_an_automatic_batch_has_about_four_megapixels():
    sizes = [(1024, 1024), (2048, 2048), (4096, 4096), (512, 512), (832, 1216), (64, 64)]
    assert [batch_of(size, 0) for size in sizes] == [4, 1, 1, 16, 4, 64]
    assert [batch_of(size, 3) for size in sizes] == [3] * 6


def test_progress_names_pictures_in_order_after_their_batch(root, store):
    told = []
    cache_latents(
        scan_folder(root), RECIPE, Encoder(), store, batch_size=2,
        on_image=lambda *a: told.append((*a, len(stored(store)))),
    )  # fmt: skip
    names = ["a", "b", "d", "x", "y", "c", "e"]
    assert [entry[:3] for entry in told] == [(n, 7, f"{m}.png") for n, m in enumerate(names, 1)]
    assert [entry[3] for entry in told] == [2, 2, 4, 4, 5, 6, 7]


def test_a_latent_that_is_not_finite_loses_no_other_of_its_batch(root, store):
    spoil = Encoder(lambda x: x.where(x[:, :1].mean((2, 3), keepdim=True) > 0.05, torch.nan))
    with pytest.raises(ValueError, match=r"NaN or infinity for .*x\.png"):
        cache_latents(scan_folder(root), RECIPE, spoil, store, batch_size=5)
    assert len(stored(store)) == 4
    again = Encoder()
    cache_latents(scan_folder(root), RECIPE, again, store, batch_size=5)
    assert again.pictures == 3


@pytest.mark.parametrize(("batch_size", "kept"), [(1, 3), (4, 3), (64, 3)])
def test_a_picture_that_breaks_loses_none_before_it(root, store, monkeypatch, batch_size, kept):
    dataset = scan_folder(root)
    monkeypatch.setattr(cache, "check_unchanged", lambda _: None)
    (root / "x.png").write_bytes(b"no picture any more")
    with pytest.raises(ValueError, match=r"x\.png changed since Load Dataset read it"):
        cache_latents(dataset, RECIPE, Encoder(), store, batch_size=batch_size)
    assert len(stored(store)) == kept


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_what_waits_is_encoded_unless_it_was_a_cancel(root, store, error):
    encoder, dataset = Encoder(), scan_folder(root)
    job = plan_latents(dataset, RECIPE, store)[1][0]
    with (
        pytest.raises(error) if error else nullcontext(),
        LatentWriter(encoder, store, 2, lambda _: None) as writer,
    ):
        writer.add(job, np.zeros((64, 64, 3), np.uint8))
        assert encoder.pictures == 0
        if error is not None:
            raise error
    assert encoder.pictures == len(stored(store)) == (error is not KeyboardInterrupt)


def test_a_bucket_is_done_before_the_next_one_begins(root, store, monkeypatch):
    waiting, add = [], LatentWriter.add

    def watched(self, job, pixels):
        add(self, job, pixels)
        waiting.append(len(self._waiting))

    monkeypatch.setattr(LatentWriter, "add", watched)
    cache_latents(scan_folder(root), RECIPE, Encoder(), store, batch_size=64)
    assert waiting == [1] * 7


def test_what_the_encoder_gets_are_the_bytes_of_the_pictures(root, store):
    given = []

    def encode(pixels):
        given.extend(pixels)
        return Encoder()(pixels)

    cache_latents(scan_folder(root), RECIPE, encode, store, batch_size=4)
    assert np.array_equal(given[1], np.asarray(Image.open(root / "b.png")))
    assert np.array_equal(given[3], np.asarray(Image.open(root / "x.png")))


class SmallMemory(Encoder):
    """Holds one image at a time, and of more than 64 pixels across only tiles, whose latents are one higher."""

    def __init__(self):
        super().__init__()
        self.tiles = 0

    def __call__(self, pixels):
        if len(pixels) == 1 and pixels.shape[2] <= 64:
            return super().__call__(pixels)
        raise TooLarge(lambda: self.in_tiles(pixels))

    def in_tiles(self, pixels):
        assert len(pixels) == 1
        self.tiles += 1
        return super().__call__(pixels) + 1


def test_too_many_images_at_once_are_encoded_one_by_one(root, tmp_path):
    whole, exact = latents(root, tmp_path / "exact", 1)
    store, encoder = Store(tmp_path / "small"), SmallMemory()
    cached = cache_latents(scan_folder(root), RECIPE, encoder, store, batch_size=3)
    for item, usual in zip(cached.items, whole.items, strict=True):
        if item.bucket[0] <= 64:
            assert item == usual
            found = store.load(cache.KIND, item.latent_key)["latents"]
            assert torch.equal(found, exact[item.latent_key])


def test_latents_in_tiles_have_a_key_of_their_own(root, tmp_path, caplog):
    """Neither a latent of the whole image nor a run with one is taken for one in tiles."""
    whole, exact = latents(root, tmp_path / "exact", 1)
    store, encoder = Store(tmp_path / "small"), SmallMemory()
    cached = cache_latents(scan_folder(root), RECIPE, encoder, store)
    wide = [number for number, item in enumerate(cached.items) if item.bucket[0] > 64]
    assert wide and encoder.tiles == len(wide)
    assert caplog.text.count("made in tiles") == 1
    for number in wide:
        item = cached.items[number]
        assert item.in_tiles and not store.has(cache.KIND, whole.items[number].latent_key)
        made = store.load(cache.KIND, item.latent_key)["latents"]
        assert torch.equal(made, exact[whole.items[number].latent_key] + 1)
    assert cached.identity() != whole.identity()
    again = cache_latents(scan_folder(root), RECIPE, encoder, store)
    assert again == cached and encoder.tiles == len(wide)
    for number in wide:  # as Clear Cache does; now there is the memory
        store.path(cache.KIND, cached.items[number].latent_key).unlink()
    assert cache_latents(scan_folder(root), RECIPE, Encoder(), store).items == whole.items


def test_deviations_are_stored_with_the_latents_under_keys_of_their_own(root, store):
    class Spread(Encoder):
        def __call__(self, pixels):
            means = super().__call__(pixels)
            return torch.cat([means, means.abs() + 1], dim=1)

    recipe = replace(RECIPE, deviations=True)
    plain = cache_latents(scan_folder(root), RECIPE, Encoder(), store, batch_size=3)
    cached = cache_latents(scan_folder(root), recipe, Spread(), store, batch_size=3)
    for item, other in zip(cached.items, plain.items, strict=True):
        both, mean = (
            store.load(cache.KIND, item.latent_key),
            store.load(cache.KIND, other.latent_key),
        )
        assert torch.equal(both["latents"], mean["latents"]) and [*mean] == ["latents"]
        assert torch.equal(both["deviation"], both["latents"].abs() + 1)
        assert item.latent_key != other.latent_key
    assert cached.identity() != plain.identity()
    store.root.rename(store.root.with_name("old"))
    with pytest.raises(ValueError, match=r"latents of shape \(1, 4, 8, 8\) where \(1, 8, 8, 8\)"):
        cache_latents(scan_folder(root), recipe, Encoder(), store)
