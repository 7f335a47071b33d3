"""Garbage collection is off while records are made, and on again after it, whatever happens."""

import gc

import pytest

from pack.base.gc_pause import collection_paused


def test_it_is_paused_and_goes_on_after_an_error():
    with pytest.raises(ValueError, match="stop"), collection_paused():
        assert not gc.isenabled()
        raise ValueError("stop")
    assert gc.isenabled()


def test_who_had_it_off_keeps_it_off():
    gc.disable()
    try:
        with collection_paused(), collection_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_was_made_is_not_walked_at_once():
    collected = []
    gc.callbacks.append(lambda phase, info: collected.append(info["generation"]))
    try:
        with collection_paused():
            made = [[] for _ in range(10_000)]
        _ = [[] for _ in range(100)]
    finally:
        gc.callbacks.pop()
    assert collected == [] and any(each is made[0] for each in gc.get_objects(generation=2))
