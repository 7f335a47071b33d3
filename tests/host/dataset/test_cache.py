"""The cache on disk: what is made again and what is not, its size, and what clearing leaves usable."""

import dataclasses
import os
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from pack.nodes.host import folders
from pack.nodes.host.cache_folder import cache_store
from pack.nodes.host.dataset import cache, clear_cache
from pack.nodes.host.dataset import load as loading
from pack.nodes.host.model import clip
from pack.nodes.host.training.train import train_lora
from pack.tests.host import scene
from pack.trainer.config.cache import CacheConfig

OPENED: list[Path] = []


def _audit(event, arguments):
    if event == "open" and isinstance(arguments[0], str | Path):
        OPENED.append(Path(arguments[0]))


sys.addaudithook(_audit)  # for the life of the process: there is no taking it out


@pytest.fixture(autouse=True)
def as_in_comfyui():
    with torch.inference_mode():
        yield


@pytest.fixture
def pictures(tmp_path):
    """A folder that was not changed just now, when nothing of it would be remembered."""
    root = scene.write_pictures(tmp_path / "set")
    for path in root.iterdir():
        os.utime(path, (1e9, 1e9))
    return root


@pytest.fixture
def encoded(monkeypatch):
    """What is encoded from now on: "image", or a caption."""
    found = []
    pixels, caption = cache.images.encode_pixels, clip.encode_caption
    monkeypatch.setattr(
        cache.images,
        "encode_pixels",
        lambda vae, x: found.extend(["picture"] * len(x)) or pixels(vae, x),
    )
    monkeypatch.setattr(
        clip,
        "encode_caption",
        lambda _, words, *way: found.append(words) or caption(_, words, *way),
    )
    return found


def load(folder):
    return loading.load_dataset(loading.LoadConfig(str(folder)))


@pytest.fixture
def build(tiny, encoded):
    """A function: folder -> cached dataset and report; ``encoded`` begins again."""

    def build(folder, **options):
        encoded.clear()
        dataset, _ = load(folder)
        return cache.build_cache(
            dataset, tiny.vae, tiny.clip, CacheConfig(scene.BUCKETS), **options
        )

    return build


def entries(kind):
    return sorted((folders.cache_root() / kind).rglob("*.safetensors"))


def test_an_unchanged_rerun_opens_neither_pictures_nor_latents(build, pictures, encoded):
    first, _ = build(pictures)
    assert encoded == ["picture"] * 4 + [f"thing, number {n}" for n in range(4)]
    OPENED.clear()
    again, _ = build(pictures)
    assert again == first and encoded == []
    names = [
        path.relative_to(folders.output_root()).parts[1]
        for path in OPENED
        if "output" in path.parts
    ]
    assert set(names) == {"files.json", "entries.json", "thumbnails"}
    assert [path for path in OPENED if path.suffix == ".png"] == []


def test_an_edited_picture_or_caption_alone_is_encoded_again(build, pictures, encoded):
    build(pictures)
    Image.new("RGB", (64, 64), "blue").save(pictures / "picture_1.png")
    build(pictures)
    assert encoded == ["picture"]
    (pictures / "picture_2.txt").write_text("another thing")
    build(pictures)
    assert encoded == ["another thing"]


@pytest.mark.parametrize("kind", ["latents", "text"])
def test_a_damaged_entry_alone_is_encoded_again(build, pictures, encoded, kind):
    first, _ = build(pictures)
    path = entries(kind)[1]
    data = bytearray(path.read_bytes())
    data[-5] ^= 4
    path.write_bytes(data)
    os.utime(path, (1e9, 1e9))
    again, _ = build(pictures)
    assert again == first and len(encoded) == 1
    assert path.exists() and path.read_bytes() != bytes(data)


def age(days, kinds=("latents", "text", "thumbnails")):
    for kind in kinds:
        for path in entries(kind):
            used = time.time() - days * 86400
            os.utime(path, (used, used))


def test_the_limit_takes_what_was_used_longest_ago_and_nothing_of_this_dataset(
    build, pictures, tmp_path, encoded
):
    cached, _ = build(scene.write_pictures(tmp_path / "old", (9, 9, 200), count=3))
    age(9)
    _, report = build(pictures, limit_gb=1e-9)
    assert len(entries("latents")) == 4 and len(entries("text")) == 4
    assert "6 item(s)" in report and "used longest ago; what is left is in use" in report
    _, report = build(pictures, limit_gb=1e-9)
    assert encoded == [] and "removed" not in report
    assert "cache:" not in build(pictures)[1]
    assert cached.items[0].latent_key not in {path.stem for path in entries("latents")}


def test_what_the_dataset_needs_stays_after_hours_of_encoding(build, pictures):
    cached, _ = build(pictures)
    age(9)
    with cache_store() as store:
        told = clear_cache.keep_within(1e-9, cached, store)
    assert (len(entries("latents")), len(entries("text"))) == (4, 4)
    assert entries("thumbnails") == [] and "4 item(s)" in told


def test_clearing_counts_by_kind_and_lets_caching_run_again(build, pictures, encoded):
    build(pictures)
    run = folders.runs_root() / "1" / "lora.safetensors"
    run.parent.mkdir(parents=True)
    run.write_bytes(b"a trained LoRA")
    age(9, ["latents"])
    before = clear_cache.last_cleared()
    told = clear_cache.clear_cache("all", 5, True)
    assert told.startswith("4 item(s), ") and "\n  latents: 4 item(s), " in told
    assert len(entries("latents")) == 4 and clear_cache.last_cleared() == before == 0
    assert clear_cache.clear_cache("captions", 5, False).startswith("0 item(s)")
    assert "4 item(s)" in clear_cache.clear_cache("latents", 0, False)
    assert entries("latents") == [] and len(entries("text")) == 4
    assert clear_cache.last_cleared() > 0
    done = clear_cache.clear_cache("all", 0, False)
    assert "\n  captions: 4 item(s), " in done and "\n  thumbnails: 4 item(s), " in done
    assert run.exists()
    build(pictures)
    assert len(encoded) == 8


def test_what_train_holds_is_made_again_or_it_says_what_to_do(build, pictures, tiny, encoded):
    cached, _ = build(pictures)
    clear_cache.clear_cache("all", 0, False)
    with pytest.raises(ValueError, match=r"is missing 4 images.*Queue again, and Cache"):
        train_lora(scene.request(tiny, cached))
    encoded.clear()
    train_lora(scene.request(tiny, cached, vae=tiny.vae, clip=tiny.clip))
    assert len(encoded) == 8 and len(entries("latents")) == 4


def test_training_notes_the_use_of_what_it_reads(build, pictures, tiny):
    cached, _ = build(pictures)
    age(9)
    train_lora(scene.request(tiny, cached))
    assert min(path.stat().st_mtime for path in entries("latents")) > time.time() - 3600
    with cache_store() as store:
        OPENED.clear()
        assert all(store.has("latents", item.latent_key) for item in cached.items)
    assert [path.name for path in OPENED] == ["entries.json"]


def test_a_thumbnail_is_never_that_of_another_picture(pictures, monkeypatch):
    dataset, sheet = load(pictures)
    assert abs(int(sheet[96, 96, 0]) - scene.RED[0]) < 60
    Image.new("RGB", (64, 64), "blue").save(pictures / "picture_0.png")
    scan = loading.scan_folder
    stale = dataclasses.replace(dataset)
    monkeypatch.setattr(loading, "scan_folder", lambda *_, **__: stale)
    clear_cache.clear_cache("all", 0, False)
    load(pictures)
    monkeypatch.setattr(loading, "scan_folder", scan)
    scene.write_pictures(pictures)
    _, again = load(pictures)
    assert (again == sheet).all()


def test_a_full_disk_does_not_keep_a_dataset_from_loading(pictures, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        dataset, sheet = load(pictures)
    assert dataset.image_count == 4 and sheet.max() > 150
