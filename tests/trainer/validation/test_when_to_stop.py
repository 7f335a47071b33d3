"""When to stop: curves whose minimum is known, and leakage that is known to rise, or not to."""

import math

import numpy as np
import pytest

from pack.trainer.validation.when_to_stop import FEW_IMAGES, lowest, rise, when_to_stop

STEPS = range(250, 4001, 250)
TRUE = 1500
TIMESTEPS = 4
RUNS = 200
ALIKE, UNLIKE = {"spread": 0.3, "noise": 0.004}, {"spread": 0.8, "noise": 0.002}
"""Images that are lowest at nearly the same step but measured with noise, and such that are not."""


def curves(seed, images, spread=0.3, noise=0.004):
    """Losses of images that differ in level and in where each is lowest, with noise.

    The mean over all images that there could be is lowest at `TRUE`.
    """
    rng = np.random.default_rng(seed)
    level, shift = rng.uniform(0.05, 0.4, images), rng.normal(0, spread, images)
    found = {0: np.repeat(level + 0.05, TIMESTEPS).tolist()}
    for step in STEPS:
        depth = 0.01 * (np.log(step / TRUE) - shift) ** 2
        drawn = rng.normal(0, noise, (images, TIMESTEPS))
        found[step] = ((level + depth)[:, None] + drawn).ravel().tolist()
    return found


def coverage(images, kind):
    """The share of simulated runs whose interval holds the true minimum."""
    found = [lowest(curves(seed, images, **kind), TIMESTEPS) for seed in range(RUNS)]
    return sum(one.low <= TRUE <= one.high for one in found) / RUNS


@pytest.mark.parametrize("kind", [ALIKE, UNLIKE], ids=["alike", "unlike"])
@pytest.mark.parametrize("images", [FEW_IMAGES, 12])
def test_the_interval_holds_the_true_minimum(images, kind):
    assert coverage(images, kind) >= 0.9


def test_with_very_few_images_it_does_not_and_the_sentence_says_so():
    assert coverage(2, UNLIKE) < 0.8
    assert "2 held-out images, too few to trust it" in when_to_stop(curves(1, 2), TIMESTEPS)
    assert "too few" not in when_to_stop(curves(1, FEW_IMAGES), TIMESTEPS)


def test_an_interval_says_something():
    """Clear curves give a narrow one, whose step is the true minimum; the same numbers the same one."""
    found = lowest(curves(3, 24, spread=0.05, noise=0.0001), TIMESTEPS)
    assert (found.step, found.images, found.last, found.is_gain) == (TRUE, 24, 4000, True)
    assert found.high - found.low <= 500
    noisy = lowest(curves(3, 24, spread=0.05, noise=0.02), TIMESTEPS)
    assert noisy.high - noisy.low > found.high - found.low
    assert noisy == lowest(curves(3, 24, spread=0.05, noise=0.02), TIMESTEPS)


def test_hard_images_do_not_widen_it():
    """The bootstrap is paired: what makes an image harder at every step is no spread."""
    plain = curves(3, 8, spread=0.05, noise=0.0001)
    hard = {
        step: [loss + 5 * (place // TIMESTEPS) for place, loss in enumerate(values)]
        for step, values in plain.items()
    }
    assert lowest(hard, TIMESTEPS)[:3] == lowest(plain, TIMESTEPS)[:3]


def falling(by, images=8, steps=(100, 200, 300)):
    start = [0.2 + place / 100 for place in range(images)]
    return {0: start, **{step: [loss - by * step for loss in start] for step in steps}}


def test_what_the_sentence_says():
    said = when_to_stop(curves(3, 24, spread=0.05, noise=0.0001), TIMESTEPS)
    assert said.startswith("held-out loss is lowest at step 1,500 (1,")
    assert "in 95 % of 1,000 resamplings of the 24 held-out images)" in said
    assert "train longer" not in said and "leakage" not in said
    assert "train longer to see" in when_to_stop(falling(1e-4), 1)
    assert "not below that of the start" in when_to_stop(falling(-1e-4), 1)


def test_nothing_is_said_of_too_little():
    assert when_to_stop({}, 8) == ""
    assert when_to_stop(falling(1e-4, steps=(100, 200)), 1) == ""
    assert when_to_stop(falling(1e-4, images=1), 1) == ""
    assert when_to_stop(falling(1e-4, images=7), 4) == ""
    broken = falling(1e-4, steps=(100, 200, 300, 400))
    broken[400] = [math.nan] * 8
    assert lowest(broken, 1).step == 300


LEAK = {250: 0.1, 1000: 0.1, 1500: 0.1, 2000: 0.1, 2500: 0.4, 3000: 0.5, 3500: 0.6}


def leaking(seed, curve=LEAK, prompts=6):
    """Leakage of prompts that differ in level, with noise."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(0, 0.3, prompts)
    return {
        step: {n: value + level[n] + rng.normal(0, 0.03) for n in range(prompts)}
        for step, value in curve.items()
    }


def test_where_leakage_rises():
    found = [rise(leaking(seed), TRUE) for seed in range(100)]
    assert sum(one is not None and one.step == 2500 for one in found) >= 90
    for prompts in (3, 6):
        flat = dict.fromkeys(LEAK, 0.1)
        false = [rise(leaking(seed, flat, prompts), TRUE) for seed in range(100)]
        assert sum(one is not None for one in false) <= 10


def test_a_rise_that_goes_back_is_none():
    curve = {**LEAK, 3500: 0.1}
    assert rise(leaking(1, curve), TRUE) is None
    assert rise(leaking(1), 4000) is None  # nothing was seen after it
    assert rise(leaking(1), 100) is None  # nor before


def test_the_sentence_with_leakage():
    losses = curves(3, 24, spread=0.05, noise=0.0001)
    said = when_to_stop(losses, TIMESTEPS, leaking(1))
    assert "; leakage is higher than there from step 2,500 on (by 0." in said
    assert said.endswith(", 6 prompts)")
    flat = when_to_stop(losses, TIMESTEPS, {step: {0: 0.1, 1: 0.2, 2: 0.1} for step in LEAK})
    assert flat.endswith("leakage after it is no higher than chance allows")
    few = when_to_stop(losses, TIMESTEPS, leaking(1, prompts=2))
    assert few.endswith("whether leakage rises after it is not known: that takes 3 prompts or more")
