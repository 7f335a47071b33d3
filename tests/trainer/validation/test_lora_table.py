"""The table of LoRAs, on made-up losses of which it is known what it has to say."""

import math

import pytest
import torch

from pack.trainer.validation.lora_table import Measured, table

CASES = 200
IMAGES, TIMESTEPS, SEEDS = 8, 4, 2
NOISE = 0.004
"""How far a LoRA's effect on an image differs from its mean effect."""


def rows(effects, rng):
    """The model's losses, and those of a LoRA for each effect, which every image feels in its own way."""
    level = 0.1 + 0.1 * torch.rand(IMAGES, TIMESTEPS, SEEDS, generator=rng)
    found = []
    for number, effect in enumerate(effects):
        own = torch.randn(IMAGES, 1, 1, generator=rng) * NOISE
        found.append(Measured(f"step {number}", 0.8, level + effect + own))
    return found, level


def test_what_is_better_is_found_and_what_is_noise_is_not():
    rng = torch.Generator().manual_seed(0)
    found = alike = 0
    for _ in range(CASES):
        text = table(*rows([-0.05, -0.03, -0.03], rng))
        found += "Lowest: step 0 at 0.8." in text and "Not told apart" not in text
        alike += "It is better than the others" not in table(*rows([-0.03] * 3, rng))
    assert found >= 0.95 * CASES
    assert alike >= 0.95 * CASES


def test_each_row_is_the_mean_over_images_with_its_interval():
    given, base = rows([-0.05, 0.02], torch.Generator().manual_seed(1))
    first, second = table(given, base).splitlines()[1:3]
    difference = float((given[0].losses - base).double().mean())
    assert first.startswith(f"step 0 | 0.8 | {difference:+.5f} ± ")
    assert second.startswith("step 1 | 0.8 | +")


def test_without_images_there_are_names_and_strengths():
    assert table([Measured("a", 0.5), Measured("a", 1.0)], None).splitlines() == [
        "LoRA | strength",
        "a | 0.5",
        "a | 1",
    ]


def test_none_may_be_better_or_whole():
    given, base = rows([0.05, 0.02], torch.Generator().manual_seed(2))
    assert "None is better than the model alone" in table(given, base)
    lost = [Measured("a", 1.0, base * math.nan)]
    assert "No loss is finite" in table(lost, base)


def test_strength_0_is_the_model_and_one_image_is_refused():
    given, base = rows([-0.05], torch.Generator().manual_seed(3))
    assert "a | 0 | +0.00000" in table([*given, Measured("a", 0.0, base)], base)
    with pytest.raises(ValueError, match="two or more images"):
        table([Measured("a", 1.0, base[:1])], base[:1])


def test_scores_are_columns_behind_the_losses():
    given, base = rows([-0.05, 0.02], torch.Generator().manual_seed(1))
    scores = {"obedience": "0.50 ± 0.10", "drift": "none"}
    given = [row._replace(scores=scores) for row in given]
    names, first, *_ = table(given, base).splitlines()
    assert names == "LoRA | strength | loss, less that without a LoRA | obedience | drift"
    assert first.startswith("step 0 | 0.8 | -0.05") and first.endswith(" | 0.50 ± 0.10 | none")
    plain = table([row._replace(losses=None) for row in given], None).splitlines()
    assert plain[0] == "LoRA | strength | obedience | drift" and len(plain) == 3
