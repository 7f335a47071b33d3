import math

import numpy as np
import pytest

from pack.trainer.validation.significance import (
    ERROR,
    contrasts,
    spread_over_seeds,
)


def test_the_spread_is_about_each_setting_s_own_mean():
    spread = spread_over_seeds({"a": [1.0, 3.0], "b": [10.0, 12.0], "c": [5.0]})
    assert (spread.deviation, spread.freedom) == (pytest.approx(math.sqrt(2)), 2)
    assert spread_over_seeds({"a": [1.0], "b": [2.0]}).freedom == 0
    assert contrasts({"a": [1.0], "b": [2.0]}) == []


def test_equal_settings_are_rarely_told_apart_and_others_nearly_always():
    """Also with three settings, of which none, or one, is another."""
    rng = np.random.default_rng(0)
    wrong = right = 0
    rounds = 400
    for _ in range(rounds):
        same = {name: rng.normal(-0.01, 0.001, 3).tolist() for name in "abc"}
        wrong += any(pair.is_real for pair in contrasts(same))
        better = {**same, "a": [value - 0.008 for value in same["a"]]}
        real = {(pair.better, pair.worse) for pair in contrasts(better) if pair.is_real}
        right += real >= {("a", "b"), ("a", "c")}
    assert wrong <= 2 * ERROR * rounds
    assert right >= 0.95 * rounds
