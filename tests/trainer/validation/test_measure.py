"""Measurements of held-out images, against the UNet called by hand."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from pack.tests.trainer.tiny_cache import FINGERPRINT, encode, make_cache, make_item
from pack.tests.trainer.tiny_run import CONFIG, Observer, Run, same
from pack.tests.trainer.tiny_unet import PlainWeights
from pack.tests.trainer.watched_run import WatchedRun
from pack.trainer.batches.plan import BatchItem
from pack.trainer.batches.training_data import TrainingData
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.validation import ValidationConfig
from pack.trainer.curves.measurement import Measurement
from pack.trainer.files.store import Store
from pack.trainer.layers.attach import Attachment, leaf_plan
from pack.trainer.sdxl.constants import VAE_SCALE
from pack.trainer.validation.image_losses import compare
from pack.trainer.validation.measure import Validation
from pack.trainer.validation.split import split

HELD_OUT = ValidationConfig(2, every=2, timesteps=4)
CONFIG = dataclasses.replace(CONFIG, validation=HELD_OUT)


@pytest.fixture
def cached(tmp_path):
    return make_cache(tmp_path, *(make_item(n, flip=True, weight=1 + n / 4) for n in range(6)))


class Validated(Run):
    """A run on what is left, with its held-out images."""

    def __init__(self, cached, config=CONFIG, **extra):
        parts = split(cached, config)
        super().__init__(parts.training, config, **extra)
        self.held_out = parts.held_out
        data = TrainingData(parts.held_out, FINGERPRINT, Store(cached.store_root))
        self.validation = Validation(data, parts.held_out.items, config)

    def losses(self):
        with Attachment(leaf_plan(self.unet, self.network, PlainWeights())):
            return self.validation.losses(self.model, lambda: None)


def by_hand(run, items, low, high):
    """What every held-out image gives: the timesteps seen at the UNet, all else done again."""
    found = []
    for index, item in enumerate(items):
        latents = run.validation._data.load([BatchItem(index, 0, False)]).latents
        context, _ = encode(item.caption)
        for part in range(4):
            draws = run.validation._draws(index, latents, part, 1000)
            t = int(draws.timesteps)
            assert low + (high - low) * part // 4 <= t < low + (high - low) * (part + 1) // 4
            ac = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)[t]
            noisy = ac.sqrt() * latents + (1 - ac).sqrt() * draws.noise
            y = run.validation._data.load([BatchItem(index, 0, False)]).y
            with torch.no_grad():
                answer = run.unet(noisy, torch.tensor([float(t)]), context[None], y)
            found.append(float(((answer - draws.noise) ** 2).mean() * item.weight))
    return found


@pytest.mark.parametrize("span", [(0, 1000), (200, 600)])
def test_the_losses_are_those_of_the_unet_called_by_hand(cached, span):
    loss = LossConfig(min_timestep=span[0], max_timestep=span[1])
    run = Validated(cached, dataclasses.replace(CONFIG, loss=loss))
    before = run.losses()
    assert before == pytest.approx(by_hand(run, run.held_out.items, *span), rel=1e-5)
    run.go()
    with Attachment(leaf_plan(run.unet, run.network, PlainWeights())):
        after = by_hand(run, run.held_out.items, *span)
    assert run.losses() == pytest.approx(after, rel=1e-5) and after != before


def test_the_pictures_are_scaled_unmirrored_and_their_own(cached):
    run = Validated(cached)
    for index, item in enumerate(run.held_out.items):
        batch = run.validation._data.load([BatchItem(index, 0, False)])
        stored = Store(cached.store_root).load("latents", item.latent_key)["latents"]
        assert torch.equal(batch.latents[0], stored * VAE_SCALE)


def test_noise_and_timesteps_differ_by_picture_and_part_but_never_change(cached):
    run, again = Validated(cached), Validated(cached)
    latents = torch.zeros(1, 4, 8, 8)
    keys = [(index, part) for index in range(2) for part in range(4)]
    draws = [run.validation._draws(*key[:1], latents, key[1], 1000) for key in keys]
    assert len({int(d.timesteps) for d in draws}) == 8
    assert len({float(d.noise[0, 0, 0, 0]) for d in draws}) == 8
    noise = torch.cat([d.noise.flatten() for d in draws])
    assert abs(float(noise.mean())) < 0.1 and abs(float(noise.std()) - 1) < 0.1
    for key, d in zip(keys, draws, strict=True):
        other = again.validation._draws(key[0], latents, key[1], 1000)
        assert torch.equal(other.noise, d.noise) and other.timesteps == d.timesteps
    assert run.losses() == run.losses() == again.losses()


def test_the_training_seed_does_not_matter_but_the_own_one_does(cached):
    losses = Validated(cached).losses()
    assert Validated(cached, dataclasses.replace(CONFIG, seed=7)).losses() == losses
    other = dataclasses.replace(HELD_OUT, seed=5)
    assert Validated(cached, dataclasses.replace(CONFIG, validation=other)).losses() != losses


def test_held_out_pictures_are_not_shown(cached):
    run = Validated(cached)
    loaded = []
    load = TrainingData.load
    run.data.load = lambda items: (loaded.extend(items), load(run.data, items))[1]
    run.go()
    shown = {run.data._dataset.items[item.item_index].digest for item in loaded}
    held = {item.digest for item in run.held_out.items}
    assert shown == {str(n) for n in range(6)} - held


VARIANTS = {
    "plain": {},
    "dropout": {"lora": LoraConfig(rank=2, alpha=2.0, dropout=0.3, rank_dropout=0.3)},
    "schedule-free": {"optimiser": OptimiserConfig(type="AdamWScheduleFree", learning_rate=1e-3)},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_validating_changes_no_number_of_the_training(cached, variant):
    config = dataclasses.replace(CONFIG, **VARIANTS[variant])

    def validate(event):
        with watched.loop.averaged():
            found.append(watched.validation.losses(watched.model, lambda: None))

    found = []
    watched, plain = (
        Validated(cached, config, observer=Observer(validate)),
        Validated(cached, config),
    )
    torch.manual_seed(3)
    assert watched.go() == plain.go() and same(watched.factors, plain.factors)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))  # nor of the process's own generator
    assert len(found) == 6 and all(a != b for a, b in itertools.pairwise(found))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_is_measured_with_the_adapters_as_they_are_used(cached, tmp_path, variant):
    watched = WatchedRun(
        cached, dataclasses.replace(CONFIG, **VARIANTS[variant]), tmp_path / "runs"
    )
    result = watched.go()
    run = watched.run
    with Attachment(leaf_plan(run.unet, run.network, PlainWeights())):
        after = watched.validation.losses(run.model, lambda: None)
    before = Validated(cached).losses()
    last = result.validations[-1]
    assert last.step == 6 and last == Measurement.compare(
        6, before, after, CONFIG.validation.timesteps
    )


def test_the_difference_is_that_of_pairs():
    before, now = [1.0, 2.0, 4.0, 0.5], [0.75, 2.25, 3.0, 0.25]
    pairs = np.subtract(now, before)
    found = Measurement.compare(7, before, now)
    assert found.step == 7 and found.difference == pytest.approx(pairs.mean())
    assert found.error == pytest.approx(3.182446 / 1.96 * pairs.std(ddof=1) / 2)
    assert str(found) == f"{pairs.mean():+.5f} ± {3.182446 * pairs.std(ddof=1) / 2:.5f}"


def test_the_timesteps_of_an_image_count_as_one():
    """As Compare LoRAs and Score LoRA have it, of the same losses."""
    before = torch.rand(5, 4, 1, generator=torch.Generator().manual_seed(1)).double()
    now = before - torch.rand(5, 1, 1, generator=torch.Generator().manual_seed(2)).double()
    found = Measurement.compare(1, before.flatten().tolist(), now.flatten().tolist(), timesteps=4)
    assert str(found) == compare(before, now).told
    alone = Measurement.compare(1, before[0].flatten().tolist(), [0.0] * 4, timesteps=4)
    assert alone == Measurement.compare(1, before[0].flatten().tolist(), [0.0] * 4)


def test_pairs_tell_more_than_losses(cached):
    """What the module is for: the spread of the differences is far below that of the losses."""
    run = Validated(cached)
    before = run.losses()
    run.go()
    now = run.losses()
    spread = np.std(now, ddof=1) / math.sqrt(len(now))
    assert Measurement.compare(6, before, now).error < spread / 5


def test_a_loss_that_is_not_finite_is_no_measurement():
    found = Measurement.compare(1, [1.0, 2.0], [math.nan, 1.0])
    assert math.isnan(found.difference) and math.isnan(found.error)
