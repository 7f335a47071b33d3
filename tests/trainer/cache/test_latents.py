import dataclasses
import os
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from pack.tests.trainer.tiny_pictures import BUCKETS, RECIPE, Encoder, write_pictures
from pack.trainer.cache import decoding
from pack.trainer.cache import latents as cache
from pack.trainer.cache.latents import cache_latents
from pack.trainer.dataset.scan import scan_folder
from pack.trainer.files.store import Store
from pack.trainer.sdxl.buckets import BucketConfig


@pytest.fixture
def root(tmp_path):
    return write_pictures(tmp_path / "data")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


def loaded(cached, item, flipped=False):
    key = item.flipped_key if flipped else item.latent_key
    return Store(cached.store_root).load(cache.KIND, key)["latents"]


def files(store):
    return sorted(path for path in store.root.rglob("*") if path.is_file())


def test_every_picture_gets_the_latent_of_its_pixels(root, store):
    cached = cache_latents(scan_folder(root), RECIPE, Encoder(), store)
    assert [item.name for item in cached.items] == [f"data/{n}.png" for n in "abcde"]
    assert [item.bucket for item in cached.items] == [(64, 64)] * 2 + [(96, 32), (64, 64), (32, 96)]
    pixels = np.asarray(Image.open(root / "b.png"), dtype=np.float32) / 255
    latent = loaded(cached, cached.items[1])
    assert latent.dtype == torch.float32 and latent.shape == (4, 8, 8)
    assert np.allclose(latent[0, 0, 0], pixels[:8, :8, 0].mean(), atol=1e-6)
    item = cached.items[0]
    assert (item.caption, item.repeats, item.weight, item.is_reg) == ("a", 1, 1.0, False)
    assert item.conditioning == ((64, 70), (0, 3), (64, 64))
    assert cached.text_fingerprint is None and cached.store_root == store.root


def test_batches_share_a_bucket_and_progress_is_told(root, store):
    encoder, told = Encoder(), []
    cache_latents(
        scan_folder(root), RECIPE, encoder, store, batch_size=2, on_image=lambda *a: told.append(a)
    )
    assert sorted(encoder.shapes) == [
        (1, 32, 96, 3),
        (1, 64, 64, 3),
        (1, 96, 32, 3),
        (2, 64, 64, 3),
    ]
    assert [entry[:2] for entry in told] == [(n, 5) for n in range(1, 6)]
    assert sorted(entry[2] for entry in told) == [f"{n}.png" for n in "abcde"]


def test_only_what_lacks_is_encoded(root, store):
    dataset = scan_folder(root)
    first = cache_latents(dataset, RECIPE, Encoder(), store)
    encoder = Encoder()
    again = cache_latents(dataset, RECIPE, encoder, store)
    assert encoder.pictures == 0 and again == first and again.identity() == first.identity()
    files(store)[2].write_bytes(b"damaged")
    files(store)[0].unlink()
    cache_latents(dataset, RECIPE, encoder, store)
    assert encoder.pictures == 2
    Image.new("RGB", (64, 64), "red").save(root / "b.png")
    edited = cache_latents(scan_folder(root), RECIPE, encoder, store)
    assert encoder.pictures == 3 and edited.identity() != first.identity()


@pytest.mark.parametrize(
    "changes",
    [
        {"vae_fingerprint": "other"},
        {"kohya": True},
        {"interpolation": "nearest"},
        {"buckets": BucketConfig((96, 96), min_reso=32, max_reso=128, step=32)},
    ],
)
def test_whatever_changes_a_latent_changes_its_key(root, store, changes):
    dataset, encoder = scan_folder(root), Encoder()
    first = cache_latents(dataset, RECIPE, encoder, store)
    other = cache_latents(dataset, dataclasses.replace(RECIPE, **changes), encoder, store)
    assert encoder.pictures == 10
    assert not {i.latent_key for i in first.items} & {i.latent_key for i in other.items}
    assert other.identity() != first.identity()


def test_an_unchanged_rerun_reads_no_picture(root, store, monkeypatch):
    dataset = scan_folder(root)
    cache_latents(dataset, RECIPE, Encoder(), store)
    monkeypatch.setattr(
        "pack.trainer.dataset.unchanged.file_digest", lambda path: pytest.fail(f"{path} was read")
    )
    monkeypatch.setattr(decoding, "_decode", lambda job, *_: pytest.fail(f"{job} was decoded"))
    cache_latents(dataset, RECIPE, Encoder(), store)


def test_the_interpolation_is_used(root, store):
    def latent(interpolation):
        recipe = dataclasses.replace(RECIPE, interpolation=interpolation)
        cached = cache_latents(scan_folder(root), recipe, Encoder(), store)
        return loaded(cached, cached.items[3])

    assert torch.equal(latent(None), latent("area"))
    assert not torch.allclose(latent(None), latent("nearest"), atol=1e-3)


def test_flips_are_encoded_from_mirrored_pixels(root, store):
    dataset, encoder = scan_folder(root), Encoder()
    plain = cache_latents(dataset, RECIPE, encoder, store)
    flipping = cache_latents(dataset, dataclasses.replace(RECIPE, flip=True), encoder, store)
    assert encoder.pictures == 10
    assert flipping.identity() != plain.identity()
    for item in flipping.items:
        assert torch.allclose(
            loaded(flipping, item, True), loaded(flipping, item).flip(-1), atol=1e-6
        )
    assert plain.items[0].flipped_key is None


@pytest.mark.parametrize("change", ["caption", "weight", "repeats", "text"])
def test_identity_covers_what_is_not_in_the_latents(root, store, change):
    dataset = scan_folder(root)
    first = cache_latents(dataset, RECIPE, Encoder(), store)
    if change == "text":
        assert dataclasses.replace(first, text_fingerprint="clip").identity() != first.identity()
        return
    if change == "repeats":
        other = scan_folder(root, repeats=2)
    else:
        value = {"caption": "new", "weight": 0.5}[change]
        other = dataset.replace_samples(lambda s: dataclasses.replace(s, **{change: value}))
    assert cache_latents(other, RECIPE, Encoder(), store).identity() != first.identity()


def test_identity_knows_no_paths_and_no_times(root, store, tmp_path):
    first = cache_latents(scan_folder(root), RECIPE, Encoder(), store)
    root.rename(tmp_path / "moved")
    for path in (tmp_path / "moved").iterdir():
        os.utime(path, (5, 5))
    again = cache_latents(
        scan_folder(tmp_path / "moved"), RECIPE, Encoder(), Store(tmp_path / "c2")
    )
    assert again.identity() == first.identity() and again.items[0].name == "moved/a.png"
    assert str(again) == f"<cache: {len(again.items)} images in {tmp_path / 'c2'}>"


def test_a_touched_picture_is_fine_and_an_edited_or_missing_one_is_named(root, store):
    dataset = scan_folder(root)
    cache_latents(dataset, RECIPE, Encoder(), store)
    os.utime(root / "a.png", (5, 5))
    cache_latents(dataset, RECIPE, Encoder(), store)
    Image.new("RGB", (8, 8)).save(root / "a.png")
    (root / "c.png").unlink()
    with pytest.raises(ValueError, match=r"a\.png changed; .*c\.png: the file is gone since Load"):
        cache_latents(dataset, RECIPE, Encoder(), store)


def test_a_picture_that_changes_while_caching_is_named(root, store, monkeypatch):
    dataset = scan_folder(root)
    monkeypatch.setattr(cache, "check_unchanged", lambda _: None)
    Image.new("RGB", (90, 90)).save(root / "d.png")
    with pytest.raises(ValueError, match=r"d\.png changed since Load Dataset read it; queue again"):
        cache_latents(dataset, RECIPE, Encoder(), store)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_latent_that_is_not_finite_names_its_picture(root, store, value):
    def spoil(latents):
        if latents.shape[2:] == (12, 4):
            latents[0, 1, 2, 3] = value
        return latents

    with pytest.raises(ValueError, match=r"NaN or infinity for .*e\.png.*--bf16-vae"):
        cache_latents(scan_folder(root), RECIPE, Encoder(spoil), store)
    assert len(files(store)) == 4


@pytest.mark.parametrize(
    "spoil", [lambda x: x[None], lambda x: torch.cat([x] * 4, 1), lambda x: x[..., :2]]
)
def test_a_latent_of_a_wrong_shape_is_refused(root, store, spoil):
    with pytest.raises(ValueError, match="VAE of an SDXL checkpoint"):
        cache_latents(scan_folder(root), RECIPE, Encoder(spoil), store)


def test_the_same_picture_twice_is_encoded_once(root, store):
    (root / "z.png").write_bytes((root / "a.png").read_bytes())
    encoder = Encoder()
    cached = cache_latents(scan_folder(root), RECIPE, encoder, store)
    assert encoder.pictures == 5
    assert cached.items[0].latent_key == cached.items[5].latent_key


def test_kohya_takes_the_stored_size_and_its_crop(root, store):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (128, 40)).save(root / "c.png", exif=exif)
    dataset = scan_folder(root)
    fixed = cache_latents(dataset, RECIPE, Encoder(), store).items[2]
    kohya = cache_latents(dataset, dataclasses.replace(RECIPE, kohya=True), Encoder(), store).items[
        2
    ]
    assert (fixed.bucket, kohya.bucket) == ((32, 96), (96, 32))
    assert (fixed.conditioning.original_hw, kohya.conditioning.original_hw) == (
        (128, 40),
        (40, 128),
    )
    assert (fixed.conditioning.crop_tl, kohya.conditioning.crop_tl) == ((3, 0), (1, 0))


def test_pictures_that_fit_no_bucket_are_all_named(root, store):
    for name in ("s", "t"):
        Image.new("RGB", (8, 8)).save(root / f"{name}.png")
    recipe = dataclasses.replace(RECIPE, buckets=dataclasses.replace(BUCKETS, no_upscale=True))
    with pytest.raises(ValueError, match=r"s\.png: 8x8.*t\.png: 8x8"):
        cache_latents(scan_folder(root), recipe, Encoder(), store)


def test_an_empty_dataset_is_told(root, store):
    with pytest.raises(ValueError, match="no images to cache"):
        cache_latents(scan_folder(root).replace_samples(lambda _: None), RECIPE, Encoder(), store)


def test_a_stop_in_the_middle_keeps_what_is_made_and_ends_the_threads(root, store):
    def stop(done, total, name):
        if done == 2:
            raise KeyboardInterrupt

    dataset = scan_folder(root)
    with pytest.raises(KeyboardInterrupt):
        cache_latents(dataset, RECIPE, Encoder(), store, on_image=stop)
    assert len(files(store)) == 2
    assert not [t for t in threading.enumerate() if t.name.startswith("lora-loop-decode")]
    encoder = Encoder()
    cache_latents(dataset, RECIPE, encoder, store)
    assert encoder.pictures == 3


def test_decoding_runs_only_a_little_ahead(root, store, monkeypatch):
    for number in range(30):
        Image.new("RGB", (64, 64), (number, 0, 0)).save(root / f"n{number}.png")
    started, lead = [], []
    decode = decoding._decode
    monkeypatch.setattr(decoding, "_decode", lambda *a: started.append(1) or decode(*a))
    cache_latents(
        scan_folder(root), RECIPE, Encoder(), store,
        on_image=lambda done, *_: lead.append(len(started) - done),
    )  # fmt: skip
    assert len(lead) == 35 and max(lead) <= 6
