"""It learns: what the images show comes out of the samples, in proportion to the strength."""

import itertools
import re

import comfy.model_management as mm
import pytest
import torch

from pack.nodes.host.lora.apply import apply_lora
from pack.nodes.host.model import unet as host_unet
from pack.nodes.host.model.autograd_session import training_session
from pack.nodes.host.model.weights import ComfyWeights
from pack.nodes.host.training import train as training
from pack.tests.host import scene
from pack.tests.host.lora.test_tools import run
from pack.tests.host.training.test_full import all_weights, is_same
from pack.trainer.batches.plan import BatchItem
from pack.trainer.batches.training_data import TrainingData
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.layers.attach import Attachment, leaf_plan
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets
from pack.trainer.sdxl.schedule import Schedule
from pack.trainer.training.step import Draws, sample_losses

pytestmark = [pytest.mark.main_host, pytest.mark.slow]

STEPS = 36
STRENGTHS = (0.0, 0.4, 0.8, 1.0)


@pytest.fixture
def sets(tiny, tmp_path):
    """(cached training set, cached held-out set), all red."""
    store = tmp_path / "cache"
    seen = scene.cache(tiny, scene.write_pictures(tmp_path / "seen", count=6), store)
    held = scene.write_pictures(tmp_path / "held", colour=(200, 50, 40), count=2)
    return seen, scene.cache(tiny, held, store)


def train(tiny, cached, lora=None):
    config = scene.config(steps=STEPS, rank=8, learning_rate=3e-3)
    if lora is not None:
        config = config.having(lora=lora, optimiser=OptimiserConfig(learning_rate=3e-4))
    with torch.inference_mode():
        result, _ = training.train_lora(scene.request(tiny, cached, config))
    return result


def redness(tiny, model):
    """Red minus the other channels, of the mean colour of a decoded sample."""
    latents = scene.sample(model, tiny.clip, steps=8)
    with torch.inference_mode():
        red, green, blue = tiny.vae.decode(latents).mean(dim=(0, 1, 2)).tolist()
    return red - (green + blue) / 2


def held_out_loss(tiny, cached, lora=None, settings=None):
    """Mean loss of the held-out images with fixed noise at evenly spread timesteps."""
    unet, model = (
        tiny.model.model.diffusion_model,
        host_unet.training_model(tiny.model, LossConfig()),
    )
    network = Network(find_targets(unet, settings or scene.config(rank=8).lora))
    if lora is not None:
        network.load(lora)
    data = TrainingData(cached, cached.text_fingerprint)
    losses = []
    with training_session(), torch.no_grad(), Attachment(leaf_plan(unet, network, ComfyWeights())):
        for index in range(len(cached.items)):
            batch = data.load([BatchItem(index, 0, False)])
            for timestep in range(50, 1000, 100):
                rng = torch.Generator().manual_seed(timestep)
                noise = torch.randn(batch.latents.shape, generator=rng)
                draws = Draws(noise, torch.tensor([timestep]))
                losses.append(float(sample_losses(model, batch, draws, LossConfig())))
    return sum(losses) / len(losses)


def test_red_pictures_make_red_samples(tiny, sets):
    seen, held = sets
    before = held_out_loss(tiny, held)
    lora = train(tiny, seen).lora
    after = held_out_loss(tiny, held, lora)
    (report,) = run("ScoreLora", model=tiny.model, cache=held, lora=lora, timesteps=10, seeds=1)
    reds = [redness(tiny, apply_lora(tiny.model, None, lora, s)[0]) for s in STRENGTHS]
    assert after < 0.9 * before
    share = float(re.search(r"\((-[\d.]+) % ±", report)[1])  # Score LoRA's own timesteps and noise
    assert share == pytest.approx(100 * (after / before - 1), abs=5) and share < -10
    assert reds == sorted(reds)
    assert min(b - a for a, b in itertools.pairwise(reds)) > 0.01


def test_full_fine_tuning_learns_it_too_and_leaves_nothing(tiny, sets):
    seen, held = sets
    full = LoraConfig(algorithm="full")
    before, weights = held_out_loss(tiny, held), all_weights(tiny)
    lora = train(tiny, seen, full).lora
    assert is_same(weights, all_weights(tiny))
    assert held_out_loss(tiny, held, lora, full) < 0.9 * before
    reds = [redness(tiny, apply_lora(tiny.model, None, lora, s)[0]) for s in STRENGTHS]
    assert reds == sorted(reds)
    assert min(b - a for a, b in itertools.pairwise(reds)) > 0.01
    mm.unload_all_models()  # takes the patches of the last sample off
    assert is_same(weights, all_weights(tiny))


def test_shuffled_targets_teach_nothing(tiny, sets, monkeypatch):
    """The control: with targets that do not belong to their inputs the held-out loss stays up."""
    seen, held = sets
    before = held_out_loss(tiny, held)

    def shuffled(self, latents, noise, timesteps):
        order = torch.randperm(noise[0].numel(), generator=torch.Generator().manual_seed(7))
        return noise.flatten(1)[:, order].view_as(noise)

    with monkeypatch.context() as patch:
        patch.setattr(Schedule, "target", shuffled)
        lora = train(tiny, seen).lora
    after = held_out_loss(tiny, held, lora)
    assert after >= before
