import math

import pytest

from pack.trainer.training.divergence import ALARM_RATIO, MAX_BAD_STEPS, SETTLE, Guard


def good(guard, *losses):
    for loss in losses:
        guard.record(loss, applied=True)


def test_three_bad_steps_in_a_row_are_the_end():
    guard = Guard()
    good(guard, 0.1)
    for _ in range(MAX_BAD_STEPS):
        assert not guard.lost
        guard.record(0.1, applied=False)
    assert guard.lost and MAX_BAD_STEPS == 3


def test_a_good_step_forgives_bad_ones():
    guard = Guard()
    for _ in range(10):
        guard.record(0.1, applied=False)
        guard.record(math.nan, applied=False)
        good(guard, 0.1)
    assert not guard.lost


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_bad_even_if_it_was_applied_or_excused(loss):
    guard = Guard()
    guard.record(loss, applied=True)
    guard.record(loss, applied=False, excused=True)
    guard.record(loss, applied=True)
    assert guard.lost


def test_an_excused_step_counts_for_nothing():
    guard = Guard()
    for _ in range(10):
        guard.record(0.1, applied=False, excused=True)
    assert not guard.lost
    guard.record(math.nan, applied=False)
    guard.record(math.nan, applied=False)
    guard.record(0.1, applied=False, excused=True)
    guard.record(math.nan, applied=False)
    assert guard.lost


def test_a_loss_that_grows_sounds_the_alarm_once():
    guard = Guard()
    good(guard, *[0.1] * SETTLE)
    alarms = []
    for _ in range(300):
        good(guard, 1.0)
        alarms.append(guard.alarm())
    (told,) = [alarm for alarm in alarms if alarm]
    assert "lower the learning rate" in told and "0.1000" in told
    smoothed = 0.1
    for step, alarm in enumerate(alarms):
        smoothed += (1.0 - smoothed) * 0.02
        if alarm:
            assert smoothed > ALARM_RATIO * 0.1 >= smoothed - (1.0 - smoothed) * 0.02 / 0.98
            assert step < 20


def test_before_it_has_settled_the_alarm_is_silent():
    guard = Guard()
    for step in range(SETTLE - 1):
        good(guard, 0.001 if step < 10 else 10.0)
        assert guard.alarm() is None


def test_noise_around_a_level_is_no_divergence():
    guard = Guard()
    for step in range(1000):
        good(guard, 0.02 if step % 2 else 0.3)
        assert guard.alarm() is None


def test_skipped_steps_do_not_move_the_smoothed_loss():
    guard = Guard()
    good(guard, *[0.1] * (SETTLE + 1))
    for _ in range(500):
        guard.record(math.inf, applied=False)
        guard.record(50.0, applied=False, excused=True)
        assert guard.alarm() is None
