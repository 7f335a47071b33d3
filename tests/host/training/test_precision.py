"""Training in half precision, loss scaling included, follows the float32 run."""

import shutil

import pytest
import torch
import torch.nn.functional as F

from pack.nodes.host.model import unet
from pack.nodes.host.training import train as training
from pack.tests.host import scene


def train(tiny, cached):
    config = scene.config(steps=8, learning_rate=1e-3)
    with torch.inference_mode():
        return training.train_lora(scene.request(tiny, cached, config))[0]


def moved(result):
    """All up factors, which start at zero, in one vector."""
    return torch.cat([v.flatten() for key, v in result.lora.items() if "lora_up" in key])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "loss_bound", "alignment"),
    [
        (torch.float16, 5e-4, 0.999),
        pytest.param(torch.bfloat16, 5e-3, 0.99, marks=pytest.mark.main_host),
    ],
)
def test_half_precision(tiny, tmp_path, monkeypatch, dtype, loss_bound, alignment):
    cached = scene.cache(tiny, scene.write_pictures(tmp_path / "set"), tmp_path / "cache")
    exact = train(tiny, cached)
    monkeypatch.setattr(unet, "compute_dtype", lambda patcher: dtype)
    shutil.rmtree(exact.path.parent)  # forget the run, so that it is done again
    half = train(tiny, cached)
    assert half.losses != exact.losses
    differences = [abs(a - b) for a, b in zip(half.losses, exact.losses, strict=True)]
    assert max(differences) < loss_bound
    assert F.cosine_similarity(moved(half), moved(exact), dim=0) > alignment
