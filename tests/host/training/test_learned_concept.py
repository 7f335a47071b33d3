"""An embedding learns what the images show: on the model that draws, a word gets a meaning."""

import random

import comfy.model_management as mm
import pytest
import torch
from PIL import Image

from pack.demo import tiny_sdxl
from pack.demo.base_model import checkpoint, scenes, sprites
from pack.nodes.host import folders
from pack.nodes.host.lora.embedding import save_embedding
from pack.nodes.host.training import train as training
from pack.tests import likeness
from pack.tests.host import scene
from pack.tests.host.model.test_base_model import drawn
from pack.tests.host.training.test_text_runs import snapshot
from pack.trainer.config.embedding import EmbeddingConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.sdxl.buckets import BucketConfig

pytestmark = [pytest.mark.main_host, pytest.mark.slow]

CONCEPT = ("blue", "house")
STEPS = 120


def write(folder):
    """Ten pictures of it in ten scenes, which their captions name, with a word that means nothing."""
    folder.mkdir()
    draw = random.Random("concept")
    for number in range(10):
        where = list(scenes.SCENES)[number % len(scenes.SCENES)]
        picture = scenes._background(where, draw)
        art = sprites.pixels(sprites.SPRITES[CONCEPT[1]], CONCEPT[0])
        tags = ["zorp", where, *scenes._place(picture, *art, draw)]
        large = picture.repeat(8, 0).repeat(8, 1)
        Image.fromarray(large).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(", ".join(tags), "utf-8")
    return folder


def far(loaded, word):
    """How far from it the pictures of two prompts are at most, and what they show."""
    pictures = [drawn(loaded, f"{word}, {where}") for where in ("meadow", "snow")]
    off = [likeness.distance(p, sprites.SPRITES[CONCEPT[1]], CONCEPT[0]) for p in pictures]
    return max(off), {likeness.shown(picture) for picture in pictures}


def test_a_word_gets_a_meaning(base_directory, tmp_path, monkeypatch):
    checkpoint.register()
    path = checkpoint.write(base_directory / "models" / "checkpoints" / "drawing.safetensors")
    loaded = tiny_sdxl.load(path)
    monkeypatch.setattr(folders, "embeddings_folder", lambda: tmp_path / "embeddings")
    for part in (loaded.clip.tokenizer.clip_l, loaded.clip.tokenizer.clip_g):
        part.embedding_directory = str(tmp_path / "embeddings")
    monkeypatch.setattr(scene, "BUCKETS", BucketConfig((128, 128), 128, 128, step=64))
    cached = scene.cache(loaded, write(tmp_path / "set"), tmp_path / "cache")
    before, _ = far(loaded, "zorp")
    config = TrainConfig(
        steps=STEPS, batch_size=4, optimiser=OptimiserConfig(schedule="cosine")
    ).having(embedding=EmbeddingConfig("zorp", vectors=4, initial_text="zorp", learning_rate=0.3))
    states = snapshot(loaded.clip), scene.snapshot(loaded.model)
    with torch.inference_mode():
        result, _ = training.train_lora(scene.request(loaded, cached, config, clip=loaded.clip))
    assert (snapshot(loaded.clip), scene.snapshot(loaded.model)) == states
    save_embedding(result.lora, "", precision="fp16", if_exists="number")
    after, shown = far(loaded, "embedding:zorp")
    assert shown == {CONCEPT} and after < 0.5 * before
    mm.unload_all_models()
