import os
import time
from pathlib import Path

import pytest
import torch

from pack.trainer.cache.eviction import clear, prune
from pack.trainer.files.index import FileIndex
from pack.trainer.files.store import Store

DAY = 86400.0


@pytest.fixture
def store(tmp_path):
    """Six files of one size, `a` used ten days ago, `b` nine, ... ; and one that was not finished."""
    store = Store(tmp_path / "cache")
    kinds = {"a": "latents", "b": "text", "c": "latents", "d": "tags", "e": "latents", "f": "text"}
    for days, (name, kind) in enumerate(kinds.items()):
        path = store.save(kind, name * 4, {"x": torch.zeros(100)})
        used = time.time() - (10 - days) * DAY
        os.utime(path, (used, used))
    return store


def left(store):
    return "".join(sorted(Path(entry.place).name[0] for entry in store.entries()))


def size(store):
    (found,) = {entry.size for entry in store.entries()}
    return found


def test_what_was_used_longest_ago_goes_first(store):
    one = size(store)
    done = prune([store], 3 * one, [])
    assert left(store) == "def"
    assert done.removed == {"latents": (2, 2 * one), "text": (1, one)}
    assert (done.files, done.freed, done.left_bytes, done.in_use) == (3, 3 * one, 3 * one, 0)


def test_the_limit_counts_to_the_byte(store):
    one = size(store)
    assert prune([store], 6 * one, []).files == 0
    assert prune([store], 6 * one - 1, []).files == 1
    assert left(store) == "bcdef"


def test_what_is_needed_stays_even_above_the_limit(store):
    keep = [store.path("latents", "aaaa"), store.path("tags", "dddd")]
    done = prune([store], 0, keep)
    assert left(store) == "ad" and done.left_bytes == 2 * size(store)


def test_what_was_used_just_now_stays(store):
    assert store.has("latents", "aaaa") and store.load("text", "bbbb")
    prune([store], 0, [])
    assert left(store) == "ab"


def test_clearing_by_kind(store):
    done = clear([store], ("latents", "none"))
    assert left(store) == "bdf" and done.removed == {"latents": (3, 3 * size(store))}


def test_clearing_by_age(store):
    clear([store], None, 7.5)
    assert left(store) == "def"
    clear([store], None)
    assert left(store) == ""


def test_a_dry_run_counts_the_same_and_removes_nothing(store):
    counted = clear([store], None, 7.5, dry_run=True)
    assert left(store) == "abcdef" and counted.left_bytes == 6 * size(store)
    assert clear([store], None, 7.5).removed == counted.removed


def test_a_file_from_the_future_is_cleared_too(store):
    path = store.path("latents", "aaaa")
    os.utime(path, (time.time() + DAY, time.time() + DAY))
    clear([store], None)
    assert left(store) == ""


def test_what_is_just_being_written_stays_and_what_was_left_goes(store):
    folder = store.path("latents", "aaaa").parent
    for name, hours in [(".1.tmp", 1), (".2.tmp", 3)]:
        (folder / name).write_bytes(b"part")
        used = time.time() - hours * 3600
        os.utime(folder / name, (used, used))
    done = clear([store], ["latents"])
    assert [path.name for path in folder.iterdir()] == [".1.tmp"]
    assert done.removed["latents"][0] == 4


def test_a_file_that_is_in_use_is_counted_and_skipped(store, monkeypatch):
    unlink = Path.unlink

    def busy(path, missing_ok=False):
        if path.name.startswith("c"):
            raise PermissionError(13, "The process cannot access the file")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", busy)
    done = prune([store], 2 * size(store), [])
    assert left(store) == "cf" and done.in_use == 1
    assert clear([store], None).in_use == 1 and left(store) == "c"


def test_the_index_forgets_what_went(store, tmp_path):
    index = FileIndex(tmp_path / "entries.json")
    known = Store(store.root, index)
    assert known.has("latents", "aaaa") and known.has("tags", "dddd")
    clear([known], ["latents"])
    index.save()
    text = (tmp_path / "entries.json").read_text()
    assert "aaaa" not in text and "dddd" in text


@pytest.fixture
def set_back(store):
    """The clock was set back: `a` to `d` were used in the future, `e` and `f` since then."""
    for days, name in enumerate("abcd", 1000):
        path = next(store.root.rglob(f"{name * 4}.safetensors"))
        os.utime(path, (time.time() + days * DAY,) * 2)
    for hours, name in ((5, "e"), (4, "f")):
        path = next(store.root.rglob(f"{name * 4}.safetensors"))
        os.utime(path, (time.time() - hours * 3600,) * 2)
    return store


def test_a_clock_that_was_set_back_keeps_nothing_forever(set_back):
    """Whatever is used after it has a time of the present: so the others were used longer ago."""
    prune([set_back], 2 * size(set_back), [])
    assert left(set_back) == "ef"


def test_use_after_the_clock_was_set_back_counts(set_back):
    assert set_back.has("latents", "aaaa") and set_back.load("text", "bbbb")
    prune([set_back], 0, [])
    assert left(set_back) == "ab"


def test_what_was_used_in_the_future_is_not_called_old(set_back):
    assert clear([set_back], None, 3).files == 0
    assert clear([set_back], None, 0).files == 6
