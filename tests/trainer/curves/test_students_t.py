import math

import pytest

from pack.trainer.curves.students_t import quantile_95, two_sided


@pytest.mark.parametrize(
    ("t", "freedom", "chance"),
    [  # tables of Student's t
        (12.706, 1, 0.05), (4.303, 2, 0.05), (3.182, 3, 0.05), (2.776, 4, 0.05), (2.228, 10, 0.05),
        (63.657, 1, 0.01), (9.925, 2, 0.01), (4.032, 5, 0.01), (2.750, 30, 0.01),
    ],
)  # fmt: skip
def test_student_s_t_is_that_of_the_tables(t, freedom, chance):
    assert two_sided(t, freedom) == pytest.approx(chance, rel=1e-3)
    assert two_sided(0.0, freedom) == pytest.approx(1.0)
    assert two_sided(math.inf, freedom) == pytest.approx(0.0, abs=1e-12)
    assert two_sided(quantile_95(freedom), freedom) == pytest.approx(0.05, rel=1e-4)
