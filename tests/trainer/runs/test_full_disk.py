"""No room at any write of a run: the LoRA comes out all the same, and the sentences say what is missing."""

import dataclasses
import errno
import logging
import os
import resource
from pathlib import Path

import pytest
import torch

from pack.tests.trainer.killed import Child
from pack.tests.trainer.tiny_cache import make_cache
from pack.tests.trainer.tiny_run import CONFIG
from pack.tests.trainer.watched_run import WatchedRun, find
from pack.trainer.config.validation import ValidationConfig
from pack.trainer.curves.step_table import COLUMNS, StepTable
from pack.trainer.files import lock
from pack.trainer.runs.history import History
from pack.trainer.runs.run_list import Pruning, list_runs

RUN = dataclasses.replace(CONFIG, steps=3, validation=ValidationConfig(1, every=1, keep_best=True))
LOSSES = [[5.0, 6.0], [4.0, 5.5], [3.0, 4.0], [3.5, 4.0]]


@pytest.fixture
def cached(tmp_path):
    return make_cache(tmp_path / "store")


@pytest.fixture(autouse=True)
def no_events(monkeypatch):
    """TensorBoard's own thread writes when it likes; see the test of its own."""
    monkeypatch.setattr("pack.trainer.runs.history.open_event_file", lambda *_: None)


def go(cached, root, **extra):
    return WatchedRun(cached, RUN, root, measure=LOSSES.__getitem__, every_state=1, **extra).go()


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


class Disk:
    """Every file moved into place and every line written, counted; from number ``until`` on there is no room."""

    def __init__(self, monkeypatch, until=None):
        self.count, self.until, self.refused = 0, until, []
        for owner, name in ((Path, "replace"), (StepTable, "write")):
            monkeypatch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, function):
        def counted(*arguments):
            self.count += 1
            if self.until is not None and self.count > self.until:
                self.refused.append(str(arguments[-1]))
                full()
            return function(*arguments)

        return counted


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in other)


@pytest.mark.slow
def test_the_disk_fills_at_any_write(cached, tmp_path):
    """The first writes are before the training: there it is refused, in a sentence."""
    good = go(cached, tmp_path / "good")
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch)
        go(cached, tmp_path / "counted")
    assert disk.count > 12
    refused = 0
    for until in range(disk.count):
        root = tmp_path / f"full {until}"
        with pytest.MonkeyPatch.context() as patch:
            full_disk = Disk(patch, until)
            try:
                result = go(cached, root)
            except OSError as error:
                refused += 1
                assert "cannot be written: No space left on device. Free some space" in str(error)
                continue
        assert full_disk.refused
        assert same(result.lora, good.lora) and same(result.best, good.best)
        assert result.losses == good.losses and result.written == result.path.exists()
        said = result.summary()
        assert "the disk is full" in said and "Errno" not in said and str(root) in said
        assert "Free some space" in said and "GB free" in said
        if not result.written:
            assert f"{result.path} cannot be written" in said and "Save LoRA" in said
            assert find(cached, RUN, root) is None
        again = go(cached, root)  # there is room again
        assert same(again.lora, good.lora) and same(again.best, good.best)
    assert refused <= 2


def test_a_state_without_room_is_told_until_one_is_saved(cached, tmp_path, monkeypatch):
    notices = []
    run = WatchedRun(cached, RUN, tmp_path / "runs", measure=LOSSES.__getitem__, every_state=1)
    save = run.folder.states.save
    monkeypatch.setattr(run.folder.states, "save", lambda s: full() if s.step < 3 else save(s))
    run.at_step = lambda step: notices.append(run.folder.troubles.notice)
    result = run.go()
    assert notices[:2] == [" · disk full, not saved: the state of the run"] * 2
    assert not result.notes  # the last one is there


@pytest.mark.parametrize("where", ["open", "write", "close"])
def test_a_log_without_room_ends_nothing(cached, tmp_path, monkeypatch, where, capsys):
    if where == "open":
        monkeypatch.setattr("logging.FileHandler._open", full)
    else:
        opened = logging.FileHandler._open

        def broken(self):
            stream = opened(self)
            return type(
                "Stream",
                (),
                {"write": full if where == "write" else stream.write, "flush": full, "close": full},
            )()

        monkeypatch.setattr("logging.FileHandler._open", broken)
    assert go(cached, tmp_path / "runs").written
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("where", ["__init__", "write", "close"])
def test_tensorboard_without_room_ends_nothing(tmp_path, monkeypatch, where, caplog):
    class Events:
        def __init__(self, *_):
            full() if where == "__init__" else None

        write = full if where == "write" else lambda *_: None
        close = full if where == "close" else lambda *_: None

    monkeypatch.setattr("pack.trainer.runs.history.open_event_file", Events)
    history = History(tmp_path, [], torch.device("cpu"), lambda step: None)
    monkeypatch.setattr(
        history,
        "_row",
        lambda event: dict.fromkeys(COLUMNS),
    )
    history.on_step(None)
    history.close()
    assert caplog.text.count("the history of the run could not be written") == 1


def test_runs_free_space_on_a_full_disk(cached, tmp_path, monkeypatch):
    """Nothing has to be written to delete."""
    path = go(cached, tmp_path / "runs").path.parent
    monkeypatch.setattr(lock, "write_atomically", full)
    monkeypatch.setattr(Path, "write_bytes", full)
    (run,) = list_runs(tmp_path / "runs")
    states = Pruning(0, 0.0, only_states=True)
    assert [problem for _, problem in states.remove([run])] == [None]
    assert not list(path.glob("state-*")) and list(path.glob("steps-*.safetensors"))
    assert [problem for _, problem in Pruning(0, 0.0).remove(list_runs(tmp_path / "runs"))] == [
        None
    ]
    assert not path.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_real_limit(cached, tmp_path):
    """The system itself refuses: no file may be larger than so many bytes, which holds no LoRA and no state."""
    good = go(cached, tmp_path / "good")
    sizes = {path.suffix: path.stat().st_size for path in good.path.parent.iterdir()}
    limit = min(sizes[".safetensors"], sizes[".pt"]) - 1

    def work(step_done):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        result = go(cached, tmp_path / "runs")
        parts = (
            same(result.lora, good.lora),
            same(result.best, good.best),
            not result.written and not list(tmp_path.glob("runs/*/*.safetensors")),
            not list(tmp_path.glob("runs/*/.*.tmp")),
            "larger than this disk or this user" in result.summary(),
            "The state of the run could not be saved: " in result.summary(),
        )
        for right in parts:
            if right:
                step_done()

    child = Child(work)
    told = b""
    while part := os.read(child._heard, 10):
        told += part
    assert not child.wait() and told == b"." * 6
    assert list(tmp_path.glob("runs/*/run.json"))
