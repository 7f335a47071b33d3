"""What the model saw: the first step's images and texts as Train gives them out."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from pack.nodes.host.model import clip as text
from pack.nodes.host.training import first_step as seen
from pack.nodes.host.training import train as training
from pack.nodes.host.training.first_step import read_seen
from pack.tests.host import scene
from pack.trainer.batches.plan import epoch_batches
from pack.trainer.cache.encoding import KIND
from pack.trainer.config.captions import CaptionConfig
from pack.trainer.files.store import Store

pytestmark = pytest.mark.main_host


@pytest.fixture
def cached(tiny, tmp_path):
    folder = scene.write_pictures(tmp_path / "set", count=6)
    return scene.cache(tiny, folder, tmp_path / "cache", flip=True)


def train(tiny, cached, recipe, **extra):
    with torch.inference_mode():
        return training.train_lora(scene.request(tiny, cached, recipe, **extra))[0]


def first_step(cached, config):
    """What the plan of the first epoch shows first."""
    batches = epoch_batches(cached, config.batch_size, config.seed, 0)[: config.accumulation]
    return [item for batch in batches for item in batch]


def decoded(tiny, cached, shown):
    """uint8 [H, W, 3] of a sample, straight from the store."""
    item = cached.items[shown.item_index]
    key = item.flipped_key if shown.flipped else item.latent_key
    latents = Store(cached.store_root).load(KIND, key)["latents"]
    with torch.inference_mode():
        pixels = tiny.vae.decode(latents[None])[0]
    return (pixels.float().clamp(0, 1).numpy() * 255).round()


@pytest.mark.parametrize("seed", range(4))
def test_the_pictures_are_the_first_batch_as_cropped_and_flipped(tiny, cached, seed):
    config = scene.config(steps=1, seed=seed)
    result = train(tiny, cached, config, vae=tiny.vae)
    images, captions = read_seen(result.path.parent)
    shown = first_step(cached, config)
    assert len(images) == len(shown) == 2
    for image, item in zip(images, shown, strict=True):
        assert np.array_equal((image.numpy() * 255).round(), decoded(tiny, cached, item))
    blocks = []
    for item in shown:
        picture = cached.items[item.item_index]
        flipped = ", flipped" if item.flipped else ""
        width, height = picture.bucket
        blocks.append(f"{picture.name}, bucket {width} x {height}{flipped}\n{picture.caption}")
    assert captions == "\n\n".join(blocks)


def test_flips_are_among_them(cached):
    """Or the test above would not see one."""
    shown = [first_step(cached, scene.config(seed=seed)) for seed in range(4)]
    assert len({item.flipped for items in shown for item in items}) == 2


def test_all_batches_of_the_first_step_in_one_size(tiny, tmp_path):
    """Of two buckets, fitted into the larger width and height on grey."""
    folder = scene.write_pictures(tmp_path / "set", count=6, sizes=((64, 64), (192, 64)))
    cached = scene.cache(tiny, folder, tmp_path / "cache")
    config = scene.config(steps=1, batch_size=2, accumulation=4)
    images, captions = read_seen(train(tiny, cached, config, vae=tiny.vae).path.parent)
    blocks = captions.split("\n\n")
    assert images.shape == (6, 64, 96, 3) and len(blocks) == 6
    flat = [number for number, block in enumerate(blocks) if "bucket 96 x 32" in block]
    assert len(flat) == 3
    for number in range(6):
        above, beside = (images[number, :8] * 255).round(), (images[number, :, :8] * 255).round()
        assert bool((above == 128).all()) == (number in flat)
        assert bool((beside == 128).all()) == (number not in flat)


def test_texts_are_those_that_are_trained_on(tiny, cached, monkeypatch):
    """Shuffled, with a prefix: what the text encoders were given for step 1."""
    options = CaptionConfig(shuffle=True, prefix="style")
    config = dataclasses.replace(scene.config(steps=1, accumulation=2), captions=options)
    given = []
    original = text.encode_caption
    monkeypatch.setattr(
        text,
        "encode_caption",
        lambda clip, caption, recipe: (given.append(caption), original(clip, caption, recipe))[1],
    )
    result = train(tiny, cached, config, clip=tiny.clip)
    texts = [
        block.split("\n", 1)[1] for block in read_seen(result.path.parent).captions.split("\n\n")
    ]
    assert len(texts) == 4 and set(texts) == set(given)
    assert all("style " in text for text in texts)
    assert not set(texts) <= {f"style {item.caption}" for item in cached.items}


def test_it_comes_back_with_the_stored_result(tiny, cached, monkeypatch):
    config = scene.config(steps=2)
    first = read_seen(train(tiny, cached, config, vae=tiny.vae).path.parent)
    result = train(tiny, cached, config, vae=tiny.vae)
    again = read_seen(result.path.parent)
    assert not result.trained
    assert torch.equal(again.images, first.images) and again.captions == first.captions
    decodes = []
    monkeypatch.setattr(seen, "to_png", lambda picture: decodes.append(picture))
    train(tiny, cached, scene.config(steps=4), vae=tiny.vae)  # goes on
    assert decodes == []


def test_a_sentence_without_a_vae_and_nothing_for_an_older_run(tiny, cached, tmp_path):
    result = train(tiny, cached, scene.config(steps=1))
    images, captions = read_seen(result.path.parent)
    assert (
        images.shape[0] == 1
        and images.shape[2] > 128
        and float(images.std()) > 0
        and "bucket" in captions
    )
    assert read_seen(tmp_path / "none").captions == ""


def test_many_pictures_are_not_all_decoded(tiny, cached, tmp_path, monkeypatch):
    monkeypatch.setattr(seen, "MOST", 3)
    config = scene.config(steps=1, batch_size=2, accumulation=2)
    run = train(tiny, cached, config, vae=tiny.vae).path.parent
    assert sorted(path.name for path in (run / "seen").iterdir()) == [
        "00.png", "01.png", "02.png", "captions.txt",
    ]  # fmt: skip
    with Image.open(run / "seen" / "02.png") as picture:
        assert picture.size in ((64, 64), (96, 64))
