"""A run folder belongs to one living process."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from pack.trainer.files import lock
from pack.trainer.files.lock import NAME, STALE_SECONDS, folder_lock


def write_lock(folder, host=None, pid=None, age=0.0):
    path = folder / NAME
    owner = {"host": host or socket.gethostname(), "pid": pid or os.getpid()}
    path.write_text(json.dumps(owner))
    os.utime(path, (time.time() - age,) * 2)


def dead_pid():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_it_is_held_and_given_back(tmp_path):
    with folder_lock(tmp_path / "run"):
        with pytest.raises(ValueError, match=rf"process {os.getpid()} on .* in .*run"):  # noqa: SIM117
            with folder_lock(tmp_path / "run"):
                pass
        assert (tmp_path / "run" / NAME).exists()
    with folder_lock(tmp_path / "run"):
        pass
    assert list((tmp_path / "run").iterdir()) == []


def test_it_is_given_back_after_an_error(tmp_path):
    with pytest.raises(OSError, match="mine"), folder_lock(tmp_path):
        raise OSError("mine")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "owner",
    [{"age": STALE_SECONDS + 5}, {"host": "elsewhere", "pid": 1, "age": STALE_SECONDS + 5}, {}],
    ids=["no heartbeat", "no heartbeat elsewhere", "process gone"],
)
def test_a_lock_of_nobody_is_taken_over(tmp_path, owner):
    write_lock(tmp_path, **(owner or {"pid": dead_pid()}))
    with folder_lock(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()


def test_another_machine_is_believed_while_its_heart_beats(tmp_path):
    write_lock(tmp_path, host="elsewhere", pid=dead_pid())
    with pytest.raises(ValueError, match="on elsewhere"), folder_lock(tmp_path):
        pass


def test_a_lock_that_was_cut_off_is_waited_for_and_then_taken(tmp_path):
    (tmp_path / NAME).write_bytes(b"")
    with pytest.raises(ValueError, match="not known yet"), folder_lock(tmp_path):
        pass
    os.utime(tmp_path / NAME, (time.time() - STALE_SECONDS - 5,) * 2)
    with folder_lock(tmp_path):
        pass


def test_the_heart_beats(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.01)
    with folder_lock(tmp_path):
        os.utime(tmp_path / NAME, (0, 0))
        for _ in range(500):
            if (tmp_path / NAME).stat().st_mtime > 0:
                break
            time.sleep(0.01)
        assert time.time() - (tmp_path / NAME).stat().st_mtime < STALE_SECONDS
