"""Score LoRA on a tiny SDXL: what is the same scores the same, and what is ruined scores worse."""

import re

import pytest
import torch

from pack.nodes.host.lora.tools import merged_loras
from pack.tests.host.lora.test_tools import made, run
from pack.trainer.config.validation import ValidationConfig

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
    assert report.startswith("all loss") and "compared_with → lora" in report
    assert "connect validation_settings" in report and "4 images × 2 timesteps × 1 seeds" in report
    share, spread, report = scored(tiny, cached, ruined, images=3)
    assert share > spread > 0 and "MODEL alone → lora" in report and "3 images" in report


def test_only_what_was_held_out_is_scored_and_one_image_is_too_few(tiny, cached):
    lora = made(tiny, 1, rank=2)
    _, _, report = scored(tiny, cached, lora, validation_settings=ValidationConfig(2, every=2))
    assert report.startswith("held-out loss") and "2 images" in report
    assert "connect validation_settings" not in report
    with pytest.raises(ValueError, match="There are 1 held-out images"):
        scored(tiny, cached, lora, validation_settings=ValidationConfig(1, every=2))
