import os
import threading
import time

import pytest

from pack.tagger.decode_ahead import in_order


def test_results_come_in_the_order_of_the_items():
    def slow_at_first(number):
        time.sleep(0.02 if number == 0 else 0)
        return number * 2

    assert list(in_order(slow_at_first, range(50))) == [number * 2 for number in range(50)]
    assert list(in_order(slow_at_first, [])) == []


def test_it_works_ahead_but_not_far():
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    results = in_order(lambda number: number, items())
    assert next(results) == 0
    assert 1 < len(taken) < 50
    results.close()


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor has one thread")
def test_it_uses_several_threads():
    both = threading.Barrier(2, timeout=30)
    assert list(in_order(lambda number: both.wait() >= 0, range(2))) == [True, True]


def test_an_error_comes_where_its_result_would():
    results = in_order(lambda number: 1 // (2 - number), range(5))
    assert next(results) == 0 and next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
