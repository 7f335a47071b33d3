"""Masks: the way from file to latents, which source overrides, and what training makes of them."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from pack.tests.trainer.tiny_pictures import BUCKETS, RECIPE, Encoder
from pack.tests.trainer.tiny_unet import CONTEXT, POOLED
from pack.trainer.batches.plan import BatchItem
from pack.trainer.batches.training_data import TrainingData
from pack.trainer.cache import masks
from pack.trainer.cache.encoding import TooLarge
from pack.trainer.cache.latents import cache_latents
from pack.trainer.cache.texts import cache_texts
from pack.trainer.dataset.scan import scan_folder
from pack.trainer.files.store import Store

SIZE = (64, 64)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data"
    (folder / "masks").mkdir(parents=True)
    return folder


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


def grey(seed, size=SIZE):
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0]), dtype=np.uint8)


def write(path, size=SIZE, alpha=None, **how):
    pixels = Image.fromarray(np.stack([grey(n, size) for n in range(3)], -1))
    if alpha is not None:
        pixels.putalpha(Image.fromarray(alpha))
    pixels.save(path, **how)


def cached_of(root, store, recipe=RECIPE):
    return cache_latents(scan_folder(root), recipe, Encoder(), store)


def loaded(cached, store):
    """The mask of every item by name, [h, w], or None."""
    keys = masks.cache_masks(cached, store)
    read = [None if key is None else store.load(masks.KIND, key)["mask"] for key in keys]
    return dict(zip([item.name[5:] for item in cached.items], read, strict=True))


def block_means(pixels):
    """[H, W] uint8 -> the mean of each block of 8 x 8, of 1."""
    height, width = pixels.shape
    blocks = pixels.reshape(height // 8, 8, width // 8, 8).astype(np.float64)
    return torch.from_numpy(blocks.mean((1, 3)) / 255).float()


def test_a_file_goes_before_transparency_and_that_before_nothing(root, store):
    for name in ("both.png", "alpha.png"):
        write(root / name, alpha=grey(7))
    for name in ("file.png", "none.png"):
        write(root / name)
    write(root / "opaque.png", alpha=np.full(SIZE[::-1], 255, np.uint8))
    for name in ("both", "file"):
        Image.fromarray(grey(8)).save(root / "masks" / f"{name}.png")
    found = loaded(cached_of(root, store), store)
    for name, expected in {"both": 8, "file": 8, "alpha": 7}.items():
        torch.testing.assert_close(found[f"{name}.png"], block_means(grey(expected)))
    assert found["none.png"] is found["opaque.png"] is None


def test_a_mask_is_resized_and_cropped_like_its_picture(root, store):
    """The mask shows the image's own red; the stand-in VAE averages blocks of 8 x 8."""
    sizes = [(70, 64), (128, 40), (90, 90), (40, 128), (33, 47)]
    for number, size in enumerate(sizes):
        write(root / f"{number}.png", size)
        Image.fromarray(grey(0, size)).save(root / "masks" / f"{number}.png")
    for recipe in (RECIPE, dataclasses.replace(RECIPE, interpolation="bilinear")):
        cached = cached_of(root, store, recipe)
        assert len({item.bucket for item in cached.items}) > 2
        for item, key in zip(cached.items, masks.cache_masks(cached, store), strict=True):
            red = store.load("latents", item.latent_key)["latents"][0]
            mask = store.load(masks.KIND, key)["mask"]
            assert mask.shape == red.shape
            torch.testing.assert_close(mask, red, atol=1e-6, rtol=0)


def test_a_rotated_pictures_own_transparency_is_rotated_along(root, store):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turned, clockwise
    write(root / "a.png", alpha=grey(7), exif=exif)
    turned = block_means(np.rot90(grey(7), -1))
    torch.testing.assert_close(loaded(cached_of(root, store), store)["a.png"], turned)
    kohya = cached_of(root, store, dataclasses.replace(RECIPE, kohya=True))
    torch.testing.assert_close(loaded(kohya, store)["a.png"], block_means(grey(7)))


def test_a_mask_file_with_transparency_counts_by_it_but_not_in_kohya(root, store):
    write(root / "a.png")
    write(root / "masks" / "a.png", alpha=grey(7))
    torch.testing.assert_close(loaded(cached_of(root, store), store)["a.png"], block_means(grey(7)))
    kohya = cached_of(root, store, dataclasses.replace(RECIPE, kohya=True))
    torch.testing.assert_close(loaded(kohya, store)["a.png"], block_means(grey(0)))


def test_a_mask_of_another_size_fits_and_of_another_shape_does_not(root, store):
    write(root / "a.png")
    small = grey(3, (32, 32))
    Image.fromarray(small).save(root / "masks" / "a.png")
    mask = loaded(cached_of(root, store), store)["a.png"]
    assert mask.shape == (8, 8) and abs(float(mask.mean()) - small.mean() / 255) < 0.01
    Image.fromarray(grey(3, (64, 61))).save(root / "masks" / "a.png")
    with pytest.raises(ValueError, match=r"64 x 61 pixels and its image 64 x 64"):
        loaded(cached_of(root, store), store)


def test_what_is_stored_is_not_made_again_and_a_new_mask_is(root, store):
    for number in range(3):
        write(root / f"{number}.png", alpha=grey(number) if number else None)
    Image.fromarray(grey(8)).save(root / "masks" / "0.png")
    told = []
    cached = cached_of(root, store)
    first = masks.cache_masks(cached, store, lambda *where: told.append(where))
    assert [where[:2] for where in told] == [(1, 3), (2, 3), (3, 3)]
    for path in root.glob("*.png"):
        path.rename(path.with_suffix(".gone"))
    assert masks.cache_masks(cached, store, lambda *where: told.append(where)) == first
    assert len(told) == 3
    for path in root.glob("*.gone"):
        path.rename(path.with_suffix(".png"))
    Image.fromarray(grey(9)).save(root / "masks" / "0.png")
    with pytest.raises(ValueError, match=r"0\.png changed since Load Dataset"):
        store.remove(masks.KIND, store.path(masks.KIND, first[0]))
        masks.cache_masks(cached, store)
    again = cached_of(root, store)
    assert again.identity() != cached.identity()
    assert [item.latent_key for item in again.items] == [item.latent_key for item in cached.items]
    changed = masks.cache_masks(again, store)
    assert changed[0] != first[0] and changed[1:] == first[1:]


def test_batches_bring_the_masks_mirrored_with_their_pictures(root, store):
    for name in ("a", "b"):
        write(root / f"{name}.png")
    Image.fromarray(grey(8)).save(root / "masks" / "b.png")
    cached = cached_of(root, store, dataclasses.replace(RECIPE, flip=True))
    cache_texts([""], lambda _: (torch.zeros(5, CONTEXT), torch.zeros(POOLED)), store, "clip")
    data = TrainingData(cached, "clip", store)
    items = [BatchItem(0, 0, False), BatchItem(1, 0, False), BatchItem(1, 0, True)]
    items = [item._replace(text="") for item in items]
    assert data.load(items).mask is None
    data.masks = masks.cache_masks(cached, store)
    batch = data.load(items)
    plain = block_means(grey(8))
    flipped = block_means(grey(8)[:, ::-1])
    torch.testing.assert_close(batch.mask, torch.stack([torch.ones(8, 8), plain, flipped]))
    last = list(batch.split(2))[1]
    assert torch.equal(last.mask, batch.mask[2:]) and torch.equal(last.latents, batch.latents[2:])
    assert batch.to(torch.device("meta")).mask.is_meta
    store.remove(masks.KIND, store.path(masks.KIND, data.masks[1]))
    again = TrainingData(cached, "clip", store)
    again.masks = data.masks
    with pytest.raises(ValueError, match=r"cached mask of data/b\.png vanished"):
        again.load(items)


def test_several_resolutions_have_a_mask_each(root, store):
    write(root / "a.png", alpha=grey(7))
    recipe = dataclasses.replace(RECIPE, more_buckets=(BUCKETS.at(32),))
    cached = cached_of(root, store, recipe)
    keys = masks.cache_masks(cached, store)
    shapes = [tuple(store.load(masks.KIND, key)["mask"].shape) for key in keys]
    assert shapes == [(8, 8), (4, 4)]


def test_a_part_of_the_pictures_in_another_order_keeps_each_its_mask(root, store):
    """As when some are held out for validation; what is not among them is not opened."""
    for number in range(4):
        write(root / f"{number}.png")
        Image.fromarray(grey(number)).save(root / "masks" / f"{number}.png")
    cached = cached_of(root, store)
    part = dataclasses.replace(cached, items=(cached.items[3], cached.items[1]))
    (root / "masks" / "0.png").unlink()
    found = loaded(part, store)
    assert list(found) == ["3.png", "1.png"]
    for name, mask in found.items():
        torch.testing.assert_close(mask, block_means(grey(int(name[0]))))


def test_latents_in_tiles_keep_their_masks(root, store):
    def in_tiles(pixels):
        raise TooLarge(lambda: Encoder()(pixels))

    write(root / "a.png")
    Image.fromarray(grey(7)).save(root / "masks" / "a.png")
    cached = cache_latents(scan_folder(root), RECIPE, in_tiles, store)
    assert cached.items[0].in_tiles and loaded(cached, store)["a.png"] is not None
