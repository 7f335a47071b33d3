import re

import pytest
import torch

from pack.trainer.validation.score import score_text


def numbers(text):
    found = re.search(
        r"\(([+-][\d.]+) % ± ([\d.]+) %, (\d+) images × (\d+) timesteps × (\d+)", text
    )
    return [float(number) for number in found.groups()]


def test_a_planted_difference_is_found_within_what_is_said():
    """Images get worse by 2 % of the mean loss on average, each by another amount; the interval holds the
    2 % in about 95 of 100 worlds."""
    held = 0
    for world in range(200):
        draw = torch.Generator().manual_seed(world)
        before = 0.1 + 0.02 * torch.rand(12, 4, 2, generator=draw)
        before *= 0.1 / before.mean()
        own = 0.002 + 0.003 * torch.randn(12, 1, 1, generator=draw)
        share, spread, *counts = numbers(score_text(before, before + own, "held-out"))
        assert counts == [12, 4, 2]
        held += abs(share - 2) <= spread
    assert 0.88 <= held / 200 <= 0.98


def test_the_same_is_no_difference_and_seeds_are_told_apart():
    losses = torch.full((3, 2, 2), 0.5)
    assert "0.50000 → 0.50000 (+0.00 % ± 0.00 %" in score_text(losses, losses, "all")
    more = losses.clone()
    more[:, :, 1] += 0.05
    text = score_text(losses, more, "held-out")
    assert text.startswith("held-out loss") and "By seed: +0.00 % to +10.00 %" in text
    with pytest.raises(ValueError, match="two or more images"):
        score_text(losses[:1], losses[:1], "all")
