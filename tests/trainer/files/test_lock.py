"""A run folder belongs to one living process."""

import errno
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

import pytest

from pack.trainer.files import lock
from pack.trainer.files.lock import NAME, folder_lock, owner

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
ROUNDS, RACERS = 60, 4


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def impatient(monkeypatch):
    """One attempt, no waiting."""
    monkeypatch.setattr(lock, "PATIENCE", 0.0)


@pytest.fixture
def holders():
    """A function that starts a process that holds a folder until it is killed, also while it is stopped."""
    started = []

    def start(folder, prepare=lambda: None):
        told, tell = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                prepare()
                with folder_lock(folder):
                    os.write(tell, b"!")
                    time.sleep(600)
            finally:
                os._exit(1)
        started.append(pid)
        os.close(tell)
        assert os.read(told, 1) == b"!"
        os.close(told)
        return pid

    yield start
    for pid in started:
        kill(pid)


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass  # the test did it


def dead_pid():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_it_is_held_and_given_back(folder):
    with folder_lock(folder):
        with pytest.raises(ValueError, match=rf"process {os.getpid()} on .* in .*run"):  # noqa: SIM117
            with folder_lock(folder):
                pass
        assert (folder / NAME).exists()
    with folder_lock(folder):
        pass
    assert list(folder.iterdir()) == []


def test_it_is_given_back_after_an_error(folder):
    with pytest.raises(OSError, match="mine"), folder_lock(folder):
        raise OSError("mine")
    assert list(folder.iterdir()) == []
    with folder_lock(folder):
        pass


def test_another_thread_of_the_same_process_is_refused(folder):
    said = []

    def attempt():
        try:
            with folder_lock(folder):
                said.append("held")
        except ValueError as error:
            said.append(str(error))

    with folder_lock(folder):
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
    attempt()
    assert f"process {os.getpid()}" in said[0] and said[1:] == ["held"]


def test_who_holds_it(folder):
    assert owner(folder) is None
    with folder_lock(folder):
        found = owner(folder)
        assert found.startswith(f"process {os.getpid()} on {socket.gethostname()}, since 20")
    assert owner(folder) is None
    (folder / NAME).write_text('{"host": "x", "pid": 1, "since": "2026-01-01 10:00"}')
    assert owner(folder) is None


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"host": "x", "pid": 1}', None])
def test_it_is_refused_as_well_while_its_holder_has_no_name_yet(folder, text):
    with folder_lock(folder):
        (folder / NAME).unlink()
        if text is not None:
            (folder / NAME).write_text(text)
        assert owner(folder) == "which one is not known"
        with pytest.raises(ValueError, match="not known"), folder_lock(folder):
            pass


@pytest.mark.parametrize("host", ["here", "elsewhere"])
@pytest.mark.parametrize("living", [True, False])
@pytest.mark.parametrize("age", [0, 1000])
def test_a_lock_file_of_an_earlier_version_means_nothing(folder, host, living, age):
    folder.mkdir()
    name = socket.gethostname() if host == "here" else host
    pid = os.getppid() if living else dead_pid()
    (folder / NAME).write_text(json.dumps({"host": name, "pid": pid}))
    os.utime(folder / NAME, (time.time() - age,) * 2)
    assert owner(folder) is None
    with folder_lock(folder):
        assert json.loads((folder / NAME).read_text())["pid"] == os.getpid()
    assert list(folder.iterdir()) == []


def test_those_who_look_keep_nobody_from_taking_it(folder):
    done, found = threading.Event(), []

    def look():
        while not done.is_set():
            found.append(owner(folder))

    lookers = [threading.Thread(target=look) for _ in range(2)]
    with folder_lock(folder):
        pass
    for looker in lookers:
        looker.start()
    for _ in range(20):
        with folder_lock(folder):
            pass
    done.set()
    for looker in lookers:
        looker.join()
    assert found


def test_it_can_be_renamed_and_removed_while_it_is_held(folder, tmp_path):
    with folder_lock(folder):
        folder.rename(tmp_path / "gone")
        assert not folder.exists()
        with pytest.raises(ValueError, match="very run"), folder_lock(folder):
            pass
    assert owner(folder) is None


@needs_fork
def test_a_kill_frees_it_at_once(folder, holders, impatient):
    def elsewhere():  # a container has another name after each start
        socket.gethostname = lambda: "elsewhere"

    pid = holders(folder, elsewhere)
    with pytest.raises(ValueError, match=f"process {pid} on elsewhere"), folder_lock(folder):
        pass
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert owner(folder) is None
    with folder_lock(folder):
        assert json.loads((folder / NAME).read_text())["pid"] == os.getpid()


@needs_fork
def test_a_holder_that_sleeps_keeps_it(folder, holders, impatient):
    pid = holders(folder)
    os.kill(pid, signal.SIGSTOP)
    hour_ago = time.time() - 3600
    os.utime(folder / NAME, (hour_ago, hour_ago))
    assert owner(folder).startswith(f"process {pid} on")
    with pytest.raises(ValueError, match=f"process {pid} on"), folder_lock(folder):
        pass
    os.kill(pid, signal.SIGCONT)
    assert owner(folder).startswith(f"process {pid} on")


def race(folders, barrier, results):
    """Try for each folder at the same time as the others; tell which ones it got."""
    got = []
    for folder in folders:
        barrier.wait(60)
        try:
            with folder_lock(folder):
                got.append(folder.name)
                barrier.wait(60)
        except ValueError:
            barrier.wait(60)
    results.put(got)


@needs_fork
@pytest.mark.slow
def test_of_those_who_race_for_what_a_killed_one_held_exactly_one_gets_it(
    tmp_path, holders, impatient
):
    folders = [tmp_path / f"run{number}" for number in range(ROUNDS)]
    for folder in folders:
        kill(holders(folder))
        assert (folder / NAME).is_file()
    context = get_context("fork")
    barrier, results = context.Barrier(RACERS), context.Queue()
    racers = [context.Process(target=race, args=(folders, barrier, results)) for _ in range(RACERS)]
    for racer in racers:
        racer.start()
    got = sorted(name for _ in racers for name in results.get(timeout=60))
    for racer in racers:
        racer.join()
    assert got == sorted(folder.name for folder in folders)


@contextmanager
def drive_that_says(monkeypatch, number):
    fcntl = pytest.importorskip("fcntl")

    def flock(file, operation):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", flock)
        yield


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_drive_without_locks_is_told_and_ends_nothing(folder, monkeypatch, caplog, number):
    caplog.set_level(logging.WARNING)
    with drive_that_says(monkeypatch, number), folder_lock(folder):
        assert (folder / NAME).is_file() and owner(folder) is None
    assert "knows no file locks" in caplog.text and str(folder) in caplog.text
    assert list(folder.iterdir()) == []


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_system_without_locks_ends_nothing(folder, monkeypatch):
    with drive_that_says(monkeypatch, errno.ENOSYS), folder_lock(folder):
        assert (folder / NAME).is_file()
    assert list(folder.iterdir()) == []


def test_a_disk_that_fails_is_no_drive_without_locks(folder, monkeypatch):
    with (
        drive_that_says(monkeypatch, errno.EIO),
        pytest.raises(OSError, match=os.strerror(errno.EIO)),
        folder_lock(folder),
    ):
        pass


def test_threads_that_ask_do_not_take_each_other_for_holders(folder, impatient):
    """A page asks several things of one run at once."""
    with folder_lock(folder):
        pass

    def ask(_):
        return {owner(folder) for _ in range(ROUNDS * 5)}

    with ThreadPoolExecutor(RACERS) as pool:
        found = set().union(*pool.map(ask, range(RACERS)))
    assert found == {None}
