"""Losses by image and seed, and the difference of two measurements of the same images."""

import dataclasses
import math

import pytest
import torch

from pack.tests.trainer.tiny_cache import FINGERPRINT, make_cache, make_item
from pack.tests.trainer.tiny_run import CONFIG, Run
from pack.trainer.batches.training_data import TrainingData
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.measuring import MeasureConfig
from pack.trainer.config.validation import ValidationConfig
from pack.trainer.files.store import Store
from pack.trainer.validation.image_losses import compare, image_losses
from pack.trainer.validation.measure import Validation


def test_each_seed_gives_what_a_validation_with_it_measures(tmp_path):
    cached = make_cache(tmp_path, *(make_item(n, weight=1 + n / 4) for n in range(3)))
    run = Run(cached, CONFIG)
    data = TrainingData(cached, FINGERPRINT, Store(cached.store_root))
    settings = MeasureConfig(timesteps=4, seeds=2, seed=7, loss=LossConfig(max_timestep=500))
    asked = []
    found = image_losses(run.model, data, cached.items, settings, lambda: asked.append(1))
    assert found.shape == (3, 4, 2) and found.dtype == torch.float32 and len(asked) == 24
    for number in range(2):
        validation = ValidationConfig(timesteps=4, seed=7 + number)
        config = dataclasses.replace(CONFIG, validation=validation, loss=settings.loss)
        losses = Validation(data, cached.items, config).losses(run.model, lambda: None)
        assert found[:, :, number].flatten().tolist() == pytest.approx(losses)


def test_a_difference_is_of_pairs_and_its_error_over_images():
    before = torch.rand(5, 3, 2, generator=torch.Generator().manual_seed(0))
    steps = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
    found = compare(before, before - steps[:, None, None])
    assert found.mean == pytest.approx(-0.3, rel=1e-5)
    assert found.error == pytest.approx(float(steps.std()) / math.sqrt(5), rel=1e-5)
    half = 2.776445 * float(steps.std()) / math.sqrt(5)
    assert str(found) == f"-0.30000 ± {half:.5f} (5 images × 3 timesteps × 2 seeds)"


def test_noise_that_both_share_is_no_error():
    before = torch.rand(4, 3, 2, generator=torch.Generator().manual_seed(0))
    assert compare(before, before + 0.5).error == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("after", [torch.zeros(2, 2, 1), torch.zeros(3, 2, 2), torch.zeros(2, 2)])
def test_only_the_same_images_can_be_compared(after):
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(torch.zeros(3, 2, 1), after)


def test_one_image_has_no_error():
    with pytest.raises(ValueError, match="two or more images"):
        compare(torch.zeros(1, 2, 1), torch.zeros(1, 2, 1))
