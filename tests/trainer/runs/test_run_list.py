"""Runs on disk: what the list says of them, and what pruning takes away, on folders made for it."""

import json
import os
import time

import pytest
import torch

from pack.trainer.config.train import TrainConfig
from pack.trainer.files import lock
from pack.trainer.files.lock import folder_lock
from pack.trainer.lora_files.file import write_lora
from pack.trainer.runs import run_list as module
from pack.trainer.runs.run_folder import Inputs, RunFolder
from pack.trainer.runs.run_list import Pruning, find_run, list_runs, run_of

DAY = 86400.0


def make(root, number, *, days=0.0, asked=4, results=(), states=(), trigger="sks"):
    """A run last worked on so many days ago; its path."""
    path = root / f"{number:016x}"
    (path / "previews").mkdir(parents=True)
    config = TrainConfig(steps=asked).to_dict()
    (path / "run.json").write_text(json.dumps({"inputs": {}, "config": config}))
    (path / "previews" / "step00000002_0.png").write_bytes(b"p" * 100)
    for stem in results:
        metadata = {"modelspec.trigger_phrase": trigger} if trigger else {}
        write_lora(path / f"{stem}.safetensors", {"a.alpha": torch.ones(1)}, metadata)
        (path / f"{stem}.json").write_text('{"losses": [0.5]}')
    for step in states:
        (path / f"state-{step:08}-{step:032x}.pt").write_bytes(b"s" * 1000)
    for file in path.rglob("*"):
        os.utime(file, (time.time() - days * DAY,) * 2)
    return path


@pytest.mark.parametrize(
    ("files", "status", "steps"),
    [
        ({}, "without a result", 0),
        ({"states": (2,)}, "unfinished", 2),
        ({"results": ("steps-00000004",), "states": (3, 4)}, "finished", 4),
        ({"results": ("steps-00000004",), "states": (5,), "asked": 9}, "unfinished", 5),
        ({"results": ("kept-00000003",), "states": (3,)}, "stopped", 3),
        ({"results": ("kept-00000002",), "states": (3,)}, "unfinished", 3),
        ({"results": ("kept-00000002", "steps-00000004")}, "finished", 4),
        ({"results": ("stopped-00000003",)}, "stopped", 3),
    ],
)
def test_the_state_of_a_run(tmp_path, files, status, steps):
    run = find_run(tmp_path, make(tmp_path, 1, **files).name)
    assert (run.status, run.steps, run.owner) == (status, steps, None)


def test_the_run_that_a_lora_comes_from(tmp_path):
    path = make(tmp_path, 0xC0FFEE << 32, results=("steps-00000004",))
    said = {"ss_session_id": str(0xC0FFEE), "lora_loop.version": "1"}
    assert run_of(tmp_path, said).name == path.name
    assert run_of(tmp_path, {"ss_session_id": str(0xC0FFEE)}) is None  # another trainer's
    for session in ("", "1", "-1", "../x", "9" * 11, "*"):
        assert run_of(tmp_path, {**said, "ss_session_id": session}) is None
    make(tmp_path, (0xC0FFEE << 32) + 1)
    assert run_of(tmp_path, said) is None  # it is not known which


def test_a_run_that_lost_its_patience_is_finished(tmp_path):
    path = make(tmp_path, 1, results=("steps-00000003",), states=(3,))
    assert find_run(tmp_path, path.name).status == "unfinished"
    (path / "steps-00000003.json").write_text('{"losses": [1, 1, 1], "asked": 4}')
    assert find_run(tmp_path, path.name).status == "finished"


def test_what_is_told_of_a_run(tmp_path):
    path = make(tmp_path, 1, days=3, results=("steps-00000004",), states=(4,))
    run = find_run(tmp_path, path.name)
    assert run.size == sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) > 1100
    assert run.trigger == "sks" and run.config["lora"]["rank"] == 32
    assert abs(run.time - (time.time() - 3 * DAY)) < 60
    assert (
        find_run(tmp_path, make(tmp_path, 2, results=("kept-00000001",), trigger="").name).trigger
        == ""
    )


def test_the_latest_comes_first_and_only_runs_are_runs(tmp_path):
    names = [make(tmp_path, number, days=number).name for number in (3, 1, 2)]
    (tmp_path / "not a run").mkdir()
    (tmp_path / f"{7:016x}").mkdir()  # without a description
    (tmp_path / "file").write_text("")
    (tmp_path / f"{8:016x}").symlink_to(make(tmp_path / "outside", 8), target_is_directory=True)
    assert [run.name for run in list_runs(tmp_path)] == [names[1], names[2], names[0]]
    assert list_runs(tmp_path / "nowhere") == []


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc", "0" * 15, "a" * 16, "C:\\x", "\0"])
def test_a_name_is_no_path(tmp_path, name):
    make(tmp_path, 1)
    assert find_run(tmp_path / "0000000000000001", name) is None
    assert find_run(tmp_path, name) is None


def names(runs):
    return [int(run.name, 16) for run in runs]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"keep_last": 0, "older_than_days": 0}, [1, 2, 3, 4]),
        ({"keep_last": 3, "older_than_days": 0}, [4]),
        ({"keep_last": 0, "older_than_days": 15}, [2, 3, 4]),
        ({"keep_last": 2, "older_than_days": 35}, [4]),
        ({"keep_last": 9, "older_than_days": 0}, []),
        ({"keep_last": 0, "older_than_days": 0, "only_states": True}, [1, 3]),
    ],
)
def test_what_is_chosen(tmp_path, rules, expected):
    """Four runs, worked on 10, 20, 30 and 40 days ago; the first and third are finished."""
    for number in range(1, 5):
        results = ("steps-00000004",) if number % 2 else ()
        make(tmp_path, number, days=10 * number, results=results, states=(4,))
    assert names(Pruning(**rules).chosen(list_runs(tmp_path))) == expected


ALL = Pruning(keep_last=0, older_than_days=0)


def test_runs_go_as_a_whole(tmp_path):
    gone, stays = make(tmp_path, 1, days=2, states=(3,)), make(tmp_path, 2)
    (chosen,) = Pruning(keep_last=1, older_than_days=0).chosen(list_runs(tmp_path))
    assert ALL.size(chosen) == chosen.size
    assert list(ALL.remove([chosen])) == [(chosen, None)]
    assert set(tmp_path.iterdir()) == {stays, tmp_path / lock.LOCKS} and not gone.exists()


def test_only_states_go(tmp_path):
    path = make(tmp_path, 1, results=("steps-00000004",), states=(3, 4))
    unfinished = make(tmp_path, 2, states=(3,))
    before = {file for file in path.rglob("*") if file.suffix != ".pt"}
    rules = Pruning(keep_last=0, older_than_days=0, only_states=True)
    (chosen,) = rules.chosen(list_runs(tmp_path))
    assert rules.size(chosen) == 2000
    assert [problem for _, problem in rules.remove([chosen])] == [None]
    assert set(path.rglob("*")) == before and list(unfinished.glob("state-*"))


@pytest.mark.parametrize("only_states", [False, True])
def test_a_run_that_is_trained_stays(tmp_path, only_states):
    path = make(tmp_path, 1, results=("steps-00000004",), states=(4,))
    rules = Pruning(keep_last=0, older_than_days=0, only_states=only_states)
    free = list_runs(tmp_path)
    with folder_lock(path):
        (run,) = list_runs(tmp_path)
        assert run.status == "training now" and rules.chosen([run]) == []
        ((_, problem),) = rules.remove(free)  # it began after the list was made
        assert "is training this very run" in problem
        assert list(path.glob("state-*"))
    assert len(rules.chosen(list_runs(tmp_path))) == 1


def test_the_lock_of_a_dead_process_keeps_nothing(tmp_path, monkeypatch):
    path = make(tmp_path, 1, days=2)
    (path / lock.NAME).write_text('{"host": "x", "pid": 1}')
    os.utime(path / lock.NAME, (time.time() - 2 * DAY,) * 2)
    assert [problem for _, problem in ALL.remove(ALL.chosen(list_runs(tmp_path)))] == [None]
    assert [path.name for path in tmp_path.iterdir()] == [lock.LOCKS]
    assert [path.stat().st_size for path in (tmp_path / lock.LOCKS).iterdir()] in ([], [0])
    assert list_runs(tmp_path) == []


def test_what_cannot_be_removed_is_told(tmp_path, monkeypatch):
    make(tmp_path, 1)

    def busy(self, target):
        raise PermissionError(13, "it is in use")

    monkeypatch.setattr(module.Path, "rename", busy)
    ((run, problem),) = ALL.remove(list_runs(tmp_path))
    assert "it is in use" in problem and find_run(tmp_path, run.name).owner is None


def number(path, place):
    """Give a run its place in the order of runs."""
    content = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**content, "number": place}))


def test_the_latest_run_is_the_last_one_whatever_the_clock_says(tmp_path):
    """Runs 1 to 3 in this order; the clock was set back before the last; 9 is of an old version."""
    for place, days in ((1, 0), (2, 5), (3, 400)):
        number(make(tmp_path, place, days=days, states=(4,)), place)
    make(tmp_path, 9, days=-50)
    assert names(list_runs(tmp_path)) == [3, 2, 1, 9]
    assert names(Pruning(keep_last=2, older_than_days=0).chosen(list_runs(tmp_path))) == [1, 9]


def test_a_run_whose_description_is_damaged_has_its_place_by_time(tmp_path):
    for place, days in ((1, 9), (2, 5), (3, 1)):
        description = make(tmp_path, place, days=days, states=(4,)) / "run.json"
        if place == 3:
            description.write_text("{")
        else:
            number(description.parent, place)
        os.utime(description, (time.time() - days * DAY,) * 2)
    assert names(list_runs(tmp_path)) == [3, 2, 1]


def test_runs_are_numbered_as_they_are_begun(tmp_path):
    made_of = [Inputs(str(n), "", "", "") for n in range(3)]
    for n in (0, 1, 2, 1, 0):
        folder = RunFolder(tmp_path, made_of[n])
        with folder.open(TrainConfig()):
            pass
        for path in tmp_path.rglob("run.json"):
            os.utime(path, (1e9 - n, 1e9 - n))
        assert list_runs(tmp_path)[0].path == folder.path
    assert [run.number for run in list_runs(tmp_path)] == [5, 4, 3]


def test_one_run_that_cannot_be_looked_at_hides_no_other(tmp_path, monkeypatch):
    good, bad = make(tmp_path, 1), make(tmp_path, 2, states=(3,))
    for file in bad.glob("*"):
        if file.is_file():
            file.unlink()
            file.symlink_to(file)  # a link to itself
    (bad / f"state-00000003-{0:032}.pt").mkdir()
    assert find_run(tmp_path, good.name) in list_runs(tmp_path)


def test_a_run_from_the_future_can_go(tmp_path):
    make(tmp_path, 1, days=-50)
    assert names(ALL.chosen(list_runs(tmp_path))) == [1]
    assert Pruning(keep_last=0, older_than_days=1).chosen(list_runs(tmp_path)) == []
