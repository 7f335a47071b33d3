import threading
import time

import pytest

from pack.base import read_ahead


def in_order(work, items, **options):
    return read_ahead.in_order(work, items, **{"name": "test-ahead", "threads": 4, **options})


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


def test_it_uses_several_threads():
    both = threading.Barrier(2, timeout=30)
    assert list(in_order(lambda number: both.wait() >= 0, range(2))) == [True, True]


def test_an_error_comes_where_its_result_would():
    results = in_order(lambda number: 1 // (2 - number), range(5))
    assert next(results) == 0 and next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_an_error_of_the_items_ends_the_threads():
    def items():
        yield 1
        raise KeyError("items")

    with pytest.raises(KeyError):
        list(in_order(lambda number: number, items()))
    assert not names()


def test_how_far_ahead_it_works_can_depend_on_the_next_item():
    """Of items 0 to 9 one may be begun at a time, of later ones six."""
    begun = []

    def items():
        for number in range(30):
            begun.append(number)
            yield number

    results = in_order(
        lambda number: number, items(), threads=2, ahead=lambda number: 1 if number < 10 else 6
    )
    assert [-next(results) + len(begun) for _ in range(20)] == [2] * 10 + [7] * 10
    results.close()


def test_closing_drops_what_is_not_begun_and_waits_for_the_rest():
    started, go = threading.Semaphore(0), threading.Event()
    done = []

    def work(number):
        if number:
            started.release()
            go.wait(30)
        done.append(number)
        return number

    results = in_order(work, range(100), threads=2, ahead=lambda _: 20)
    assert next(results) == 0
    for _ in range(2):
        assert started.acquire(timeout=30)
    threading.Timer(0.05, go.set).start()
    results.close()
    assert len(done) == 3 and not names()


def test_closing_before_the_first_result_begins_nothing():
    results = in_order(lambda number: number, range(3))
    results.close()
    assert list(results) == [] and not names()


def test_there_are_no_more_threads_than_processors(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert [read_ahead.thread_count(most) for most in (1, 3, 8)] == [1, 3, 3]
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert read_ahead.thread_count(8) == 1


def names():
    return [t.name for t in threading.enumerate() if t.name.startswith("test-ahead")]
