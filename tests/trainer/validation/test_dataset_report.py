"""What stands out by its losses: planted among images that only chance tells apart."""

import pytest
import torch

from pack.trainer.validation.dataset_report import LEAST, Losses, judge

IMAGES, TIMESTEPS, SEEDS = 24, 4, 2


def usual(seed, images=IMAGES):
    """Losses that fall to a fifth and rise by a quarter without the caption, each image a little otherwise."""
    draw = torch.Generator().manual_seed(seed)

    def spread(scale, *shape):
        return (scale * torch.randn(*shape, generator=draw)).exp()

    noise = spread(0.4, 1, TIMESTEPS, SEEDS) * spread(0.1, images, TIMESTEPS, SEEDS)
    start = 0.1 * noise * spread(0.15, images, 1, 1)
    last = start * 0.2 * spread(0.1, images, 1, 1) * spread(0.05, images, TIMESTEPS, SEEDS)
    start_blank, last_blank = (
        losses * helps * spread(0.05, images, 1, 1) * spread(0.03, images, TIMESTEPS, SEEDS)
        for losses, helps in ((start, 1.0), (last, 1.25))
    )
    return Losses(start, last, start_blank, last_blank)


def flags(losses, shapes=None):
    """By image, the flags that were raised, and all verdicts."""
    names = [f"image {n}" for n in range(len(losses.start))]
    verdicts = judge(losses, names, shapes or [0] * len(names))
    return {v.image: v.flag for v in verdicts if v.flag}, verdicts


@pytest.mark.parametrize("seed", range(5))
def test_what_is_planted_comes_first_with_its_reason(seed):
    losses = usual(seed)
    losses.last[3] = losses.start[3] * 0.7  # something else
    losses.last_blank[3] = losses.last[3] * 1.25
    losses.start_blank[7] = losses.start[7] * 0.8  # its caption is that of another
    losses.last_blank[7] = losses.last[7]
    for each in losses:  # a copy
        each[11] = each[5] * torch.linspace(0.99, 1.01, SEEDS)
    found, verdicts = flags(losses)
    assert {v.image for v in verdicts[:3]} == {3, 7, 11} <= found.keys()
    assert found[3] in ("never learned", "hard") and found[7] == "odd caption"
    assert found[11] == "memorised" and "those of image 5 " in verdict_of(verdicts, 11).reason
    told = verdict_of(verdicts, 3).reason
    assert "of what it was, that of others to " in told and "times that of others" in told


def verdict_of(verdicts, image):
    (found,) = [verdict for verdict in verdicts if verdict.image == image]
    return found


def test_chance_alone_seldom_stands_out():
    found = [len(flags(usual(seed))[0]) for seed in range(40)]
    assert sum(found) / (40 * IMAGES) < 0.025


def test_captions_are_judged_only_where_they_help():
    losses = usual(0)
    losses.start_blank[7] = losses.start[7] * 0.8
    losses.last_blank[7] = losses.last[7]
    assert flags(losses)[0].get(7) == "odd caption"
    losses = losses._replace(last_blank=losses.last * 0.99)
    assert "odd caption" not in flags(losses)[0].values()


def test_a_copy_has_the_same_shape():
    losses = usual(1)
    for each in losses:
        each[11] = each[5]
    assert flags(losses)[0].get(11) == "memorised"
    other = [n == 11 for n in range(IMAGES)]
    assert flags(losses, other)[0].get(11) is None


def test_the_ratio_is_that_of_the_losses():
    losses = usual(2)
    losses.last[0] = losses.start[0] * 0.6
    fell = verdict_of(flags(losses)[1], 0).reason
    assert "its loss went to 60% ± " in fell


def test_too_few_images_and_broken_losses_are_refused():
    with pytest.raises(ValueError, match=f"needs {LEAST}"):
        flags(usual(0, LEAST - 1))
    losses = usual(0)
    losses.last[4, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="loss of image 4"):
        flags(losses)
