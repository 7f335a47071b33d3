"""Tagging and encoding in one pass: every image decoded once, the same bits as in two passes."""

import dataclasses
import threading

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from pack.demo import tiny_tagger
from pack.nodes import cache_latents as latents_node
from pack.nodes.host import folders
from pack.nodes.host.cache_folder import small_store
from pack.nodes.host.dataset import cache as caching
from pack.nodes.host.dataset import one_pass
from pack.nodes.host.dataset import tag as tagging
from pack.nodes.host.dataset.tagger_session import REGISTRY
from pack.nodes.host.model import vae as images
from pack.tagger import TagConfig, TaggerConfig
from pack.tests.host import scene
from pack.tests.host.kohya_scene import run_node
from pack.trainer.config.cache import CacheConfig
from pack.trainer.dataset import dataset as datasets
from pack.trainer.dataset import subsets
from pack.trainer.dataset.scan import scan_folder

pytestmark = pytest.mark.main_host

MODEL = "wd-swinv2-tagger-v3"
SETTINGS = CacheConfig(scene.BUCKETS)


@pytest.fixture(autouse=True)
def as_in_comfyui():
    with torch.inference_mode():
        yield


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Images of every kind that tagger and trainer treat each in its own way."""
    monkeypatch.setattr(folders, "tagger_folders", lambda: [tmp_path / "taggers"])
    tiny_tagger.write(tmp_path / "taggers" / MODEL)
    root = scene.write_pictures(tmp_path / "set", count=6)
    rng = np.random.default_rng(5)
    photo = Image.fromarray(rng.integers(0, 256, (90, 130, 3), dtype=np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    photo.save(root / "turned.jpg", exif=turned, quality=90)
    photo.save(root / "turned.png", exif=turned)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    photo.save(root / "profile.jpg", icc_profile=profile)
    glass = photo.convert("RGBA")
    glass.putalpha(Image.linear_gradient("L").resize(glass.size))
    glass.save(root / "glass.png")
    photo.quantize(9).save(root / "palette.png", transparency=3)
    Image.fromarray(rng.integers(0, 65536, (70, 70), dtype=np.uint16)).save(root / "deep.png")
    photo.convert("CMYK").save(root / "press.jpg")
    yield root
    REGISTRY.release()


def tag(dataset, vae=None, settings=SETTINGS, **changes):
    tagger = TaggerConfig(MODEL, **{"provider": "cpu", "batch_size": 4, **changes})
    config = TagConfig(general_threshold=0.0)
    return tagging.tag_dataset(dataset, tagger, config, "replace", vae=vae, cache=settings)


def cache(dataset, vae, settings=SETTINGS):
    return caching.build_cache(dataset, vae, None, settings)


def files(kind):
    """What the cache holds of a kind: the names and contents of its files or values."""
    with small_store() as store:
        keys = [entry.place for entry in store.entries() if entry.kind == kind]
        values = {key: store.load(key) for key in keys}
    root = folders.cache_root() / kind
    return values | {path.name: path.read_bytes() for path in root.rglob("*.safe*")}


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A function: from now on the cache is another, empty one."""
    return lambda name: monkeypatch.setattr(folders, "output_root", lambda: tmp_path / name)


@pytest.fixture
def opened(monkeypatch):
    """The names of images whose bytes are read, and one "decoded" for each that is decoded."""
    found, lock = [], threading.Lock()
    read, load = type(scene.Path()).read_bytes, Image.open

    def read_bytes(path):
        if path.suffix in (".png", ".jpg"):
            with lock:
                found.append(path.name)
        return read(path)

    def decode(*arguments, **options):
        with lock:
            found.append("decoded")
        return load(*arguments, **options)

    monkeypatch.setattr(type(scene.Path()), "read_bytes", read_bytes)
    monkeypatch.setattr(Image, "open", decode)
    return found


@pytest.mark.parametrize(
    ("changes", "latents"),
    [
        ({}, 1),
        ({"flip": True}, 2),
        ({"kohya": True}, 1),
        ({"batch_size": 3}, 1),
        ({"more_resolutions": (96,)}, 2),
    ],
    ids=str,
)
def test_the_bits_are_those_of_two_passes(root, tiny, elsewhere, changes, latents):
    settings = dataclasses.replace(SETTINGS, **changes)
    dataset = scan_folder(root)
    elsewhere("two")
    apart = tag(dataset)
    cached, _ = cache(apart.dataset, tiny.vae, settings)
    two = files("tags"), files("latents")
    elsewhere("one")
    together = tag(dataset, tiny.vae, settings)
    made = files("latents")
    found, _ = cache(together.dataset, tiny.vae, settings)
    assert [len(kind) for kind in two] == [13, 13 * latents]
    assert together.dataset == apart.dataset and files("tags") == two[0]
    assert found.identity() == cached.identity()
    if changes.get("batch_size") is None:
        assert made == two[1]
    else:  # other images stand beside it in its batch
        assert made.keys() == two[1].keys()


def test_every_picture_is_decoded_once_in_both(root, tiny, opened):
    dataset = scan_folder(root)
    opened.clear()
    tagged = tag(dataset, tiny.vae)
    assert sorted(name for name in opened if name != "decoded") == sorted(
        sample.path.name for _, sample in dataset.samples()
    )
    assert opened.count("decoded") == 13
    assert "13 latents made in the same pass" in tagged.report
    opened.clear()
    cache(tagged.dataset, tiny.vae)
    assert opened == []


def test_without_a_vae_it_takes_two(root, tiny, opened):
    """So that the test above can fail."""
    dataset = scan_folder(root)
    opened.clear()
    tagged = tag(dataset)
    cache(tagged.dataset, tiny.vae)
    assert opened.count("decoded") == 26 and "latents" not in tagged.report


def test_two_resolutions_come_from_one_decoding(root, tiny, opened):
    settings = dataclasses.replace(SETTINGS, more_resolutions=(96, 128))
    dataset = scan_folder(root)
    opened.clear()
    cache(tag(dataset, tiny.vae, settings).dataset, tiny.vae, settings)
    assert opened.count("decoded") == 13 and len(files("latents")) == 39


def test_options_of_folders_are_kept(root, tiny, tmp_path, opened):
    other = scene.write_pictures(tmp_path / "other", (30, 90, 220), count=2)
    options = subsets.SubsetConfig(flip=True, interpolation="nearest")
    both = subsets.merged([scan_folder(root), subsets.with_options(scan_folder(other), options)])
    cached, _ = cache(tag(both, tiny.vae).dataset, tiny.vae)
    assert len(files("latents")) == 13 + 2 * 2
    opened.clear()
    assert cache(both, tiny.vae)[0].items[-1].flipped_key and opened == []
    assert len({item.latent_key for item in cached.items}) == 15


def test_what_is_tagged_or_encoded_already_is_not_done_again(root, tiny, monkeypatch):
    dataset = scan_folder(root)
    _, sample = next(dataset.samples())
    one = dataset.replace_samples(lambda found: found if found is sample else None)
    cache(one, tiny.vae)
    encoded = count_encoded(monkeypatch)
    tagged = tag(dataset, tiny.vae)
    assert len(encoded) == 12 and "12 latents made" in tagged.report
    monkeypatch.setattr(one_pass, "one_pass", None)
    again = tag(dataset, tiny.vae)
    assert again.dataset == tagged.dataset and "latents" not in again.report


def count_encoded(monkeypatch):
    encoded, encode = [], images.encode_pixels
    monkeypatch.setattr(images, "encode_pixels", lambda vae, x: encoded.extend(x) or encode(vae, x))
    return encoded


def test_a_picture_that_breaks_on_the_way_is_left_out_by_both(root, tiny, monkeypatch):
    dataset = scan_folder(root)
    monkeypatch.setattr(tagging, "check_unchanged", lambda _: (root / "turned.jpg").unlink())
    tagged = tag(dataset, tiny.vae)
    assert f"{root / 'turned.jpg'}: the file is gone" in tagged.report
    assert len(files("tags")) == len(files("latents")) == 12


def test_a_vae_that_gives_nan_names_the_picture_and_keeps_the_tags(root, tiny, monkeypatch):
    encode = images.encode_pixels

    def spoilt(vae, pixels):
        latents = encode(vae, pixels).clone()
        latents[0, 1] = torch.nan
        return latents

    monkeypatch.setattr(images, "encode_pixels", spoilt)
    with pytest.raises(ValueError, match=r"NaN or infinity for .*deep\.png"):
        tag(scan_folder(root), tiny.vae)
    assert len(files("tags")) >= 1 and files("latents") == {}


def test_a_cancel_keeps_what_is_made(root, tiny, monkeypatch):
    calls = []

    def check():
        calls.append(1)
        if len(calls) > 25:
            raise KeyboardInterrupt

    monkeypatch.setattr(one_pass, "check_interrupt", check)
    monkeypatch.setattr(tagging, "check_interrupt", check)
    with pytest.raises(KeyboardInterrupt):
        tag(scan_folder(root), tiny.vae)
    assert 2 < len(files("latents")) < 13
    assert not [t for t in threading.enumerate() if t.name.startswith("tagger-decode")]


def test_few_pictures_wait_for_the_vae(tmp_path, root, tiny, monkeypatch):
    waiting = []
    take = one_pass.OnePass.tagged

    def watched(self, digest):
        waiting.append(len(self._pixels))
        take(self, digest)

    monkeypatch.setattr(one_pass.OnePass, "tagged", watched)
    scene.write_pictures(root, count=60)
    tag(scan_folder(root), tiny.vae, batch_size=4)
    assert len(waiting) == 67 and max(waiting) <= 4 + 8 + 8 + 1


def test_fast_decoding_gives_way_to_the_vae(root, tiny, elsewhere):
    dataset = scan_folder(root)
    elsewhere("exact")
    exact, known = tag(dataset), files("tags")
    elsewhere("fast")
    assert tag(dataset, tiny.vae, fast_decode=True).dataset == exact.dataset
    assert files("tags") == known


def test_pictures_that_fit_no_bucket_are_named_before_any_is_read(root, tiny, opened):
    Image.new("RGB", (8, 8)).save(root / "speck.png")
    dataset = scan_folder(root)
    buckets = dataclasses.replace(scene.BUCKETS, no_upscale=True)
    opened.clear()
    with pytest.raises(ValueError, match=r"speck\.png: 8x8"):
        tag(dataset, tiny.vae, dataclasses.replace(SETTINGS, buckets=buckets))
    assert opened == []


def test_without_settings_they_are_the_defaults_of_cache_latents(root, tiny, monkeypatch):
    given, dataset = [], datasets.Dataset(())
    monkeypatch.setattr(
        latents_node, "build_cache", lambda *arguments: given.append(arguments) or (dataset, "")
    )
    run_node(latents_node.CacheLatents, monkeypatch, dataset=dataset, vae=tiny.vae)
    assert given[0][3] == CacheConfig()


def test_bytes_on_the_device_give_the_bits_of_floats_from_the_host(tiny):
    levels = np.arange(256, dtype=np.uint8).repeat(48).reshape(1, 64, 64, 3)
    floats = torch.from_numpy(levels.astype(np.float32) / 255.0)
    assert torch.equal(images.encode_pixels(tiny.vae, levels), tiny.vae.encode(floats).float())


@pytest.mark.parametrize("rows", [2, 5])
def test_a_batch_gives_the_latents_of_its_pictures(tiny, rows):
    pixels = np.random.default_rng(1).integers(0, 256, (rows, 64, 96, 3), dtype=np.uint8)
    alone = torch.cat([images.encode_pixels(tiny.vae, row[None]) for row in pixels])
    together = images.encode_pixels(tiny.vae, pixels)
    assert together.shape == (rows, 4, 8, 12)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
