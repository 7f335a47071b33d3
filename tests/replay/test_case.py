import math

import pytest

from pack.replay.case import Case, largest


def test_a_case_passes_up_to_its_bound():
    assert Case("a", 0.5, 0.5).passed and Case("a", 0.0, 0.0).passed
    assert not any(Case("a", error, 0.5).passed for error in (0.51, math.inf, math.nan))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_largest_error_is_nan_when_one_is(place):
    errors = [0.1, 0.3, 0.2]
    assert largest(errors) == 0.3
    errors[place] = math.nan
    assert math.isnan(largest(iter(errors)))
    errors[place] = math.inf
    assert largest(errors) == math.inf
