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
