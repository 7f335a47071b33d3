import random

import pytest

from pack.trainer.device.spill_watch import CALM, FIRST, LATEST, SCARCE, SpillWatch, StepCost

FULL, ROOMY = SCARCE // 2, 4 * SCARCE
PIXELS = 1024 * 1024


def told(steps):
    """(number from 1, sentence) for every sentence about the steps."""
    watch = SpillWatch()
    found = [(number, watch.look(step)) for number, step in enumerate(steps, 1)]
    return [(number, text) for number, text in found if text]


def steps(count, seconds=1.0, free=FULL, pictures=2, jitter=0.2):
    rng = random.Random(3)
    return [
        StepCost(seconds * rng.uniform(1 - jitter, 1 + jitter), pictures * PIXELS, free)
        for _ in range(count)
    ]


def test_a_lasting_jump_on_a_full_card_is_told_once():
    calm = FIRST + 60
    ((number, text),) = told([*steps(calm), *steps(60, 6.0)])
    assert number == calm + LATEST
    assert "6." in text or "5." in text
    assert "shared memory" in text and "checkpointing" in text


@pytest.mark.parametrize(
    "later",
    [
        steps(60),
        steps(60, 1.6),  # another program uses the card a little
        steps(60, 6.0, free=ROOMY),  # slow for another reason
        [*steps(LATEST - 1, 6.0), *steps(30)] * 3,  # it does not last
        [*steps(1, 9.0), *steps(5)] * 20,  # after previews
        steps(60, 4.0, pictures=8),  # larger batches take longer
        [*steps(3, 3.0, pictures=6), *steps(1, 0.5, pictures=1)] * 15,
    ],
)
def test_other_slow_steps_are_no_spill(later):
    assert told([*steps(FIRST + CALM), *later]) == []


def test_the_first_steps_do_not_count():
    assert told([*steps(FIRST, 30.0), *steps(80)]) == []
    ((number, _),) = told([*steps(FIRST, 30.0), *steps(CALM), *steps(LATEST, 6.0)])
    assert number == FIRST + CALM + LATEST


def test_more_memory_than_the_card_has_needs_no_jump():
    over = [StepCost(6.0, PIXELS, FULL, beyond=1)] * 30
    ((number, text),) = told(over)
    assert number == FIRST + 1 and "More memory" in text
