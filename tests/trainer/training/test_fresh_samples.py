"""Latents drawn anew around the VAE's mean whenever an image is shown."""

import dataclasses

import pytest
import torch

from pack.tests.trainer.tiny_cache import FINGERPRINT, make_cache, make_item, make_latents
from pack.trainer.batches.plan import BatchItem
from pack.trainer.batches.training_data import TrainingData
from pack.trainer.cache.encoding import KIND
from pack.trainer.files.store import Store
from pack.trainer.sdxl.constants import VAE_SCALE
from pack.trainer.training.step import sampled

ITEMS = [BatchItem(number, 0, False) for number in range(4)]


@pytest.fixture
def data(tmp_path):
    """Each image with deviations that rise from channel to channel."""
    cached = make_cache(tmp_path, *map(make_item, range(4)))
    for number, item in enumerate(cached.items):
        latents = make_latents(number, item.bucket)
        deviation = torch.arange(4.0).view(4, 1, 1).expand_as(latents) / 10
        tensors = {"latents": latents, "deviation": deviation.contiguous()}
        Store(tmp_path / "fresh").save(KIND, item.latent_key, tensors)
    for path in tmp_path.rglob("*.safetensors"):  # captions stay where the batch looks for them
        goal = tmp_path / "fresh" / path.relative_to(tmp_path)
        if "fresh" not in path.relative_to(tmp_path).parts and not goal.exists():
            goal.parent.mkdir(parents=True, exist_ok=True)
            goal.write_bytes(path.read_bytes())
    recipe = dataclasses.replace(cached.recipe, deviations=True)
    fresh = dataclasses.replace(cached, recipe=recipe, store_root=tmp_path / "fresh")
    return TrainingData(fresh, FINGERPRINT), TrainingData(cached, FINGERPRINT)


def test_samples_have_the_mean_and_the_deviation_of_the_vae(data):
    batch = data[0].load(ITEMS)
    shown = torch.stack([sampled(batch, 3, epoch).latents for epoch in range(600)])
    error = (shown.mean(dim=0) - batch.latents) / VAE_SCALE
    spread = ((shown - batch.latents) / VAE_SCALE).std(dim=(0, 1, 3, 4))
    assert torch.equal(shown[:, :, 0], batch.latents[:, 0].expand_as(shown[:, :, 0]))
    assert float(error.abs().max()) < 5 * 0.3 / 600**0.5
    assert spread.tolist() == pytest.approx([0, 0.1, 0.2, 0.3], rel=0.02)


def test_a_sample_is_a_function_of_seed_epoch_and_image(data):
    batch = data[0].load(ITEMS)
    whole = sampled(batch, 3, 1)
    assert whole.deviations is None and sampled(whole, 3, 1) is whole
    alone = torch.cat([sampled(data[0].load([item]), 3, 1).latents for item in ITEMS])
    split = torch.cat([sampled(part, 3, 1).latents for part in batch.split(3)])
    assert torch.equal(whole.latents, alone) and torch.equal(whole.latents, split)
    others = [sampled(batch, 3, 2).latents, sampled(batch, 4, 1).latents]
    assert not any(torch.equal(whole.latents[:, 1:], other[:, 1:]) for other in others)


def test_without_deviations_nothing_is_drawn(data):
    batch = data[1].load(ITEMS)
    assert batch.deviations is None and sampled(batch, 3, 1) is batch
