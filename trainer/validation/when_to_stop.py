"""When to stop, in words with evidence: where held-out loss is lowest, and from where on leakage rises."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..runs.scorecard import Mean

RESAMPLINGS = 1000
LEAST_STEPS, LEAST_IMAGES = 3, 2
"""With fewer validations, or fewer images, nothing is said."""
LEAST_PROMPTS = 3
"""With fewer prompts the spread of leakage is not known well enough."""
FEW_IMAGES = 6
"""With fewer images the interval is told to be too narrow (tests/trainer/validation/test_when_to_stop.py)."""

_SEED = 20260731
_INTERVAL = (0.025, 0.975)


class Lowest(NamedTuple):
    """The step of the lowest held-out loss, and the interval that holds it in 95 % of the resamplings.

    ``images``: how many were measured; ``last``: the last validation; ``is_gain``: whether the loss is
    below that of the start.
    """

    step: int
    low: int
    high: int
    images: int
    last: int
    is_gain: bool


def lowest(losses: Mapping[int, Sequence[float]], timesteps: int) -> Lowest | None:
    """Where the loss of held-out images is lowest, with a paired bootstrap over the images.

    ``losses``: by step, those of every image at each of its ``timesteps``, one image after the other;
    step 0 is the start and no candidate. An image is drawn with all its losses at all steps, so what
    makes one image harder than another does not count. One image fewer than there are is drawn: a bootstrap
    of all of a few is too narrow. None where too little was measured.
    """
    steps = [step for step in sorted(losses) if step and all(map(math.isfinite, losses[step]))]
    images, rest = divmod(len(losses.get(0, ())), timesteps)
    if len(steps) < LEAST_STEPS or images < LEAST_IMAGES or rest:
        return None
    table = np.array([losses[step] for step in steps]).reshape(len(steps), images, timesteps)
    by_image = table.mean(axis=2)
    best = int(by_image.mean(axis=1).argmin())
    draws = np.random.default_rng(_SEED)
    weights = draws.multinomial(images - 1, [1 / images] * images, size=RESAMPLINGS)
    found = np.sort((weights @ by_image.T).argmin(axis=1))
    first, end = (found[round(share * (RESAMPLINGS - 1))] for share in _INTERVAL)
    is_gain = float(by_image[best].mean()) < float(np.mean(losses[0]))
    low, high = steps[min(first, best)], steps[max(end, best)]
    return Lowest(steps[best], low, high, images, steps[-1], is_gain)


class Rise(NamedTuple):
    """The first step from which on leakage is higher than at the best step, by how much there."""

    step: int
    by: Mean


def rise(leakage: Mapping[int, Mapping[int, float]], best: int) -> Rise | None:
    """From which step on leakage is higher than at ``best`` (or the last before it) beyond its spread.

    ``leakage``: by step and prompt. Prompt by prompt, so that what one prompt leaks more than another
    does not count; a step counts if the 95 % interval of the mean difference, by Student's t, lies above
    0, and all later steps count too. None with fewer than three prompts.
    """
    before = [step for step in leakage if step <= best]
    if not before:
        return None
    reference, found = leakage[max(before)], None
    for step in sorted((step for step in leakage if step > best), reverse=True):
        pairs = [
            value - reference[prompt]
            for prompt, value in leakage[step].items()
            if prompt in reference
        ]
        by = Mean.of(pairs) if len(pairs) >= LEAST_PROMPTS else None
        if by is None or by.margin is None or by.value <= by.margin:
            break
        found = Rise(step, by)
    return found


def when_to_stop(
    losses: Mapping[int, Sequence[float]],
    timesteps: int,
    leakage: Mapping[int, Mapping[int, float]] | None = None,
) -> str:
    """The sentence, with how its numbers were made; "" where too little was measured."""
    found = lowest(losses, timesteps)
    if found is None:
        return ""
    said = [f"held-out loss is lowest at step {found.step:,} ({_interval(found)})"]
    if not found.is_gain:
        said.append(
            "but not below that of the start: the LoRA does not help on images that it has not seen"
        )
    elif found.step == found.last:
        said.append("the last validation, so it may fall further: train longer to see")
    risen = rise(leakage or {}, found.step)
    if risen is not None:
        said.append(
            f"leakage is higher than there from step {risen.step:,} on (by {risen.by}, "
            f"{risen.by.previews} prompts)"
        )
    elif leakage and max(leakage) > found.step:
        if max(map(len, leakage.values())) >= LEAST_PROMPTS:
            said.append("leakage after it is no higher than chance allows")
        else:
            said.append(
                f"whether leakage rises after it is not known: that takes {LEAST_PROMPTS} prompts or more"
            )
    return "; ".join(said)


def _interval(found: Lowest) -> str:
    few = ", too few to trust it" if found.images < FEW_IMAGES else ""
    return (
        f"{found.low:,} to {found.high:,} in 95 % of {RESAMPLINGS:,} resamplings of the "
        f"{found.images} held-out images{few}"
    )
