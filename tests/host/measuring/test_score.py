"""Score LoRA on a tiny SDXL: what is the same scores the same, and what is ruined scores worse."""

import dataclasses
import re

import pytest
import torch

from pack.nodes.host.lora.tools import merged_loras, resized
from pack.nodes.host.training import train as training
from pack.tests.host import scene
from pack.tests.host.lora.test_tools import made, run
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.validation import ValidationConfig
from pack.trainer.lora_tools.resize import Size

pytestmark = pytest.mark.main_host


def scored(tiny, cached, lora, **more):
    with torch.inference_mode():
        (report,) = run(
            "ScoreLora",
            model=tiny.model,
            cache=cached,
            lora=lora,
            timesteps=2,
            **{"seeds": 1, **more},
        )
    share, spread = re.search(r"\(([+-][\d.]+) % ± ([\d.]+) %", report).groups()
    return float(share), float(spread), report


def test_the_same_change_scores_the_same_and_a_ruined_one_worse(tiny, cached):
    good = made(tiny, 1, rank=2)
    good = merged_loras([(good, 0.05)]).lora
    ruined = merged_loras([(good, 100.0)]).lora
    share, _, report = scored(
        tiny, cached, merged_loras([(good, 0.5), (good, 0.5)]).lora, compared_with=good
    )
    assert abs(share) < 0.01
    assert report.startswith("all images' loss") and "compared_with → lora" in report
    assert (
        "may have been trained on some of these" in report
        and "4 images × 2 timesteps × 1 seeds" in report
    )
    share, spread, report = scored(tiny, cached, ruined, images=3)
    assert share > spread > 0 and "MODEL alone → lora" in report and "3 images" in report


def test_a_damaged_lora_is_named(tiny, cached):
    good, bad = made(tiny, 1, rank=2), made(tiny, 2, rank=2)
    next(value for key, value in bad.items() if "lora_up" in key).view(-1)[0] = torch.inf
    with pytest.raises(ValueError, match=r"Score LoRA: compared_with: lora_.* not finite"):
        scored(tiny, cached, good, compared_with=bad)


@pytest.mark.slow
def test_only_what_its_training_held_out_is_scored_for_what_was_made_of_it_too(tiny, cached):
    held_out = ValidationConfig(2, every=2, timesteps=2)
    config = scene.config(steps=2, validation=held_out, loss=LossConfig(min_snr_gamma=5.0))
    with torch.inference_mode():
        result, _ = training.train_lora(scene.request(tiny, cached, config))
    smaller = resized(result.lora, Size(1), None).lora
    _, _, report = scored(tiny, cached, smaller, compared_with=result.lora)
    assert report.startswith("held-out loss") and "2 images" in report
    assert f"Held out by the training {result.path.parent.name}." in report
    other = dataclasses.replace(cached, items=cached.items[:3])
    assert (
        "all images' loss" in scored(tiny, other, smaller)[2]
    )  # it held out none of these as such
    plain = dict(smaller)
    _, _, report = scored(tiny, cached, plain)
    assert report.startswith("all images' loss") and "4 images" in report
    with pytest.raises(ValueError, match="2 images or more, one by one, and there are 1"):
        scored(tiny, cached, plain, images=1)
