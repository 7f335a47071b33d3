"""A rectified-flow MODEL: trained, previewed by its own sampling, used, and left as it was."""

import re

import pytest
import torch
from comfy_extras import nodes_model_advanced as advanced

from pack.nodes.host.lora.apply import apply_lora
from pack.nodes.host.model import unet
from pack.nodes.host.previews.previewer import PreviewConfig
from pack.nodes.host.training import train as training
from pack.tests.host import scene
from pack.tests.host.lora.test_tools import run
from pack.trainer.config.loss import LossConfig

pytestmark = [pytest.mark.main_host, pytest.mark.slow]

PREVIEWS = PreviewConfig(("thing",), every=6, width=64, height=64, steps=2)


def test_it_learns_by_its_own_target_and_nothing_remains(tiny, tmp_path):
    model = advanced.ModelSamplingSD3().patch(tiny.model, 2.5)[0]
    store = tmp_path / "cache"
    seen = scene.cache(tiny, scene.write_pictures(tmp_path / "seen"), store)
    held = scene.cache(tiny, scene.write_pictures(tmp_path / "held", (200, 50, 40), 2), store)
    loss = LossConfig(timestep_sampling="sigmoid", immiscible=2)
    config = scene.config(steps=12, rank=8, learning_rate=1e-2, loss=loss)
    image, before = scene.sample(model, tiny.clip), scene.snapshot(model)
    request = scene.request(
        tiny._replace(model=model), seen, config, clip=tiny.clip, vae=tiny.vae, previews=PREVIEWS
    )
    with torch.inference_mode():
        result, book = training.train_lora(request)
    after = scene.snapshot(model)
    assert [key for key in before if before[key] != after[key]] == []
    assert torch.equal(scene.sample(model, tiny.clip), image)
    applied = apply_lora(model, None, result.lora, 1.0)[0]
    assert unet.prediction(applied) == "flow"
    assert not torch.equal(scene.sample(applied, tiny.clip), image)
    (report,) = run("ScoreLora", model=model, cache=held, lora=result.lora, timesteps=6, seeds=1)
    share = float(re.search(r"\((-?[\d.]+) % ±", report)[1])  # of the loss without the LoRA
    assert share < -3
    assert {place.step for place in book.places()} == {6, 12}
