"""What goes to the card goes through pinned memory only where the model may pin."""

import dataclasses

import pytest
import torch

from pack.tests.trainer.tiny_cache import FINGERPRINT, make_cache, make_item
from pack.tests.trainer.tiny_unet import make_model
from pack.trainer.batches.training_data import TrainingData
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.training.step import draw


@pytest.mark.parametrize("pins", [False, True])
def test_nothing_is_pinned_unless_the_model_may(tmp_path, monkeypatch, pins):
    """With `to` and `pin_memory` written down, as there is no card."""
    config = TrainConfig(loss=LossConfig(ip_noise_gamma=0.1))
    data = TrainingData(make_cache(tmp_path, make_item(0)), FINGERPRINT)
    batch = data.load(next(data.steps(config)).batches[0])
    draws = draw(batch, config, 0, 1000)
    model = dataclasses.replace(make_model(None), device=torch.device("cuda"), pins=pins)
    pinned, sent = [], []
    with monkeypatch.context() as patched:
        patched.setattr(torch.Tensor, "pin_memory", lambda t: pinned.append(t) or t)
        patched.setattr(
            torch.Tensor,
            "to",
            lambda t, device, non_blocking=False: sent.append((device, non_blocking)) or t,
        )
        model.bring(batch, draws)
    assert sent == [(torch.device("cuda"), pins)] * 7
    assert len(pinned) == (7 if pins else 0)
