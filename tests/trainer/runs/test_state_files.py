"""States on disk: whole or not there, the newest ones kept, damage seen."""

import os
import time

import pytest
import torch

from pack.trainer.runs import state_files as module
from pack.trainer.runs.state_files import StateFiles
from pack.trainer.training.state import State


def make_state(step=3, size=1000):
    optimiser = {"state": {0: {"exp_avg": torch.full((4,), float(step)), "betas": (0.9, 0.99)}}}
    network = {"a.lora_down.weight": torch.arange(size) / 7}
    return State(step, [0.5, float("nan")], 2, network, optimiser, {"_seen": step})


def same(one, other):
    assert str(vars(one)) == str(vars(other))
    assert torch.equal(one.network["a.lora_down.weight"], other.network["a.lora_down.weight"])


def test_a_state_comes_back(tmp_path):
    files = StateFiles(tmp_path / "run")
    assert files.latest(10) is None
    files.save(make_state())
    with torch.inference_mode():
        found = StateFiles(tmp_path / "run").latest(10)
    same(found, make_state())
    assert not found.optimiser["state"][0]["exp_avg"].is_inference()


def test_two_states_are_kept_and_the_furthest_that_fits_is_taken(tmp_path):
    files = StateFiles(tmp_path)
    for step in (1, 2, 3):
        files.save(make_state(step))
    assert len(list(tmp_path.iterdir())) == 2
    assert [files.latest(most).step for most in (2, 3, 9)] == [2, 3, 3]
    assert files.latest(1) is None


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-1], lambda data: b"", lambda data: data[:500] + b"x" + data[501:]],
)
def test_a_damaged_state_goes_and_the_one_before_it_is_taken(tmp_path, damage, caplog):
    files = StateFiles(tmp_path)
    files.save(make_state(1))
    newest = files.save(make_state(2))
    newest.write_bytes(damage(newest.read_bytes()))
    assert files.latest(9).step == 1
    assert not newest.exists() and "contents are not those that were written" in caplog.text


def test_no_code_is_loaded(tmp_path, caplog):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "evil"),)

    files = StateFiles(tmp_path)
    state = make_state()
    files.save(State(**{**vars(state), "guard": {"x": Evil()}}))
    assert files.latest(9) is None and not (tmp_path / "evil").exists()
    assert "is not usable" in caplog.text


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    files = StateFiles(tmp_path)
    files.save(make_state(1))

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module._Hashing, "write", full)
    with pytest.raises((OSError, RuntimeError)):
        files.save(make_state(2))
    assert len(list(tmp_path.iterdir())) == 1 and files.latest(9).step == 1


def test_what_a_kill_left_is_tidied(tmp_path):
    files = StateFiles(tmp_path)
    (tmp_path / ".0123.state.tmp").write_bytes(b"half")
    (tmp_path / "notes.tmp").write_bytes(b"mine")
    files.tidy()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.tmp"]


@pytest.mark.parametrize("hours", [-1000, -1, 0, 1, 1000])
def test_the_clock_does_not_say_which_states_are_kept(tmp_path, hours):
    """Those that are there were written at another time than now: before or after, by the clock."""
    files = StateFiles(tmp_path)
    for step in range(1, 10):
        written = files.save(make_state(step))
        assert written.exists() and files.latest(99).step == step
        for path in tmp_path.glob("state-*"):
            os.utime(path, (time.time() - 3600 * hours,) * 2)
    assert [int(path.name.split("-")[1]) for path in sorted(tmp_path.iterdir())] == [8, 9]


def test_a_shorter_run_keeps_its_own_state_and_the_furthest(tmp_path):
    files = StateFiles(tmp_path)
    for step in (8, 10, 2, 4, 6):
        files.save(make_state(step))
        assert files.latest(step).step == step
    assert files.latest(99).step == 10 and len(list(tmp_path.iterdir())) == 2


def test_a_state_under_the_name_of_another_step_is_damaged(tmp_path, caplog):
    path = StateFiles(tmp_path).save(make_state(3))
    path.rename(path.with_name(path.name.replace("00000003", "00000009")))
    assert StateFiles(tmp_path).latest(99) is None and "its name says another" in caplog.text
