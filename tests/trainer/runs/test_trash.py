"""The trash of runs: nothing is lost on the way there and back, and only days empty it, not the clock."""

import json
import time

import pytest

from pack.tests.trainer.runs.test_run_list import make
from pack.trainer.files import lock
from pack.trainer.runs import trash as module
from pack.trainer.runs.run_list import Pruning, find_run, list_runs
from pack.trainer.runs.trash import DAYS, MOST_AT_ONCE, RECORD, Trash

DAY = 86400.0
ALL = Pruning(keep_last=0, older_than_days=0)
STATES = Pruning(keep_last=0, older_than_days=0, only_states=True)


@pytest.fixture
def runs(tmp_path):
    root = tmp_path / "runs"
    root.mkdir()
    return root


@pytest.fixture
def trash(tmp_path):
    return Trash(tmp_path / "trash")


@pytest.fixture
def clock(monkeypatch):
    """The wall clock, to be set; it starts at the real time."""
    now = [time.time()]
    monkeypatch.setattr(module.time, "time", lambda: now[0])
    return now


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def pruned(runs, trash, rules=ALL):
    problems = [problem for _, problem in rules.remove(rules.chosen(list_runs(runs)), trash)]
    assert set(problems) <= {None}
    return len(problems)


def test_pruned_runs_can_be_given_back_to_the_byte(runs, trash):
    path = make(runs, 1, days=2, results=("steps-00000004",), states=(4,))
    before = contents(path)
    assert pruned(runs, trash) == 1 and not path.exists() and list_runs(runs) == []
    (entry,) = trash.entries()
    assert (entry.run, entry.is_whole, entry.days) == (path.name, True, 0)
    assert entry.path == trash.root / path.name  # by its own name: it can be moved back by hand
    assert contents(entry.path).keys() - {RECORD} == before.keys()
    trash.restore(path.name, runs)
    assert contents(path) == before and trash.entries() == []
    assert find_run(runs, path.name).status == "finished"


def test_pruned_states_go_back_into_their_run(runs, trash):
    path = make(runs, 1, results=("steps-00000004",), states=(3, 4))
    before = contents(path)
    assert pruned(runs, trash, STATES) == 1
    assert not list(path.glob("state-*")) and list(path.glob("steps-*"))
    (entry,) = trash.entries()
    assert (entry.run, entry.is_whole) == (path.name, False) and entry.size > 2000
    trash.restore("", runs)
    assert contents(path) == before and trash.entries() == []


def test_states_never_take_the_place_of_newer_ones(runs, trash):
    path = make(runs, 1, results=("steps-00000004",), states=(4,))
    (state,) = path.glob("state-*")
    pruned(runs, trash, STATES)
    state.write_bytes(b"newer")
    trash.restore(path.name, runs)
    assert state.read_bytes() == b"newer"


def test_a_run_that_is_there_again_is_not_replaced(runs, trash):
    path = make(runs, 1, states=(3,))
    pruned(runs, trash)
    make(runs, 1, states=(4,))
    before = contents(path)
    with pytest.raises(ValueError, match="has been trained again"):
        trash.restore(path.name, runs)
    assert contents(path) == before
    pruned(runs, trash)
    assert [entry.run for entry in trash.entries()] == [path.name] * 2
    trash.restore(path.name, runs)
    assert path.exists() and len(trash.entries()) == 1


def test_states_of_a_run_that_is_gone_stay_in_the_trash(runs, trash):
    path = make(runs, 1, results=("steps-00000004",), states=(4,))
    pruned(runs, trash, STATES)
    pruned(runs, trash)
    trash.restore(path.name, runs)  # the run, and then its states
    assert not list(path.glob("state-*"))
    trash.restore(path.name, runs)
    assert list(path.glob("state-*")) and trash.entries() == []
    pruned(runs, trash, STATES)
    list(ALL.remove(list_runs(runs)))
    with pytest.raises(ValueError, match="only states of the run"):
        trash.restore(path.name, runs)


@pytest.mark.parametrize("name", ["", "a" * 16, "..", "../runs", "/", "\0"])
def test_a_run_that_is_not_in_the_trash_is_told(runs, trash, name):
    with pytest.raises(ValueError, match=r"in the trash.*It is empty"):
        trash.restore(name, runs)


def test_it_is_emptied_after_days(runs, trash, clock):
    make(runs, 1)
    pruned(runs, trash)
    for day in range(1, int(DAYS) + 1):
        clock[0] += DAY
        gone = trash.age()
        assert bool(gone) == (day == DAYS), day
    assert list(trash.root.iterdir()) == []


def test_many_looks_a_day_count_as_one_day(runs, trash, clock):
    make(runs, 1)
    pruned(runs, trash)
    for _ in range(500):
        clock[0] += 60.0
        assert trash.age() == []
    (entry,) = trash.entries()
    assert 0 < entry.days <= 500 * 60.0 / DAY


@pytest.mark.parametrize("wrong", [400 * DAY, 40000 * DAY, -400 * DAY, -20000 * DAY, -50 * DAY])
@pytest.mark.parametrize("when", ["at the move", "later", "for a while"])
def test_a_wrong_clock_does_not_empty_it_at_once(runs, trash, clock, wrong, when):
    real, path = clock[0], make(runs, 1)
    clock[0] += wrong if when == "at the move" else 0
    trash.take(path)
    looks = (
        [wrong, 0, 0]
        if when == "for a while"
        else [0, 0, 0]
        if when == "at the move"
        else [wrong] * 3
    )
    for hours, shift in enumerate(looks):
        clock[0] = real + shift + 2 * hours * 3600
        assert trash.age() == []
    (entry,) = trash.entries()
    assert entry.days <= MOST_AT_ONCE + 0.5
    for _ in range(int(DAYS) + 1):  # and it is emptied all the same, in real days
        clock[0] += DAY
        trash.age()
    assert trash.entries() == []


@pytest.mark.parametrize(
    "record",
    [None, "", "null", "[]", "{", '{"days": 99}', '{"days": null, "seen": 0}', '{"days": NaN, "seen": 1}',
     '{"days": 99, "seen": Infinity}', '{"days": [], "seen": {}}', "\x00\x01"],
)  # fmt: skip
def test_a_damaged_record_begins_to_count_again(runs, trash, clock, record):
    make(runs, 1)
    pruned(runs, trash)
    (entry,) = trash.entries()
    (entry.path / RECORD).unlink()
    if record is not None:
        (entry.path / RECORD).write_text(record)
    assert trash.age() == [] and trash.entries()[0].days == 0
    clock[0] += DAY
    trash.age()
    assert trash.entries()[0].days == pytest.approx(1)


def test_only_what_is_ours_is_emptied(runs, trash, clock):
    path = make(runs, 1)
    trash.root.mkdir()
    (trash.root / "mine").mkdir()
    (trash.root / "file.txt").write_text("mine")
    (trash.root / f"{5:016x}").symlink_to(path, target_is_directory=True)
    old = {"days": 99.0, "seen": time.time()}
    (trash.root / "mine" / RECORD).write_text(json.dumps(old))
    (path / RECORD).write_text(json.dumps(old))
    assert trash.age() == [] and trash.entries() == []
    assert len(list(trash.root.iterdir())) == 3 and path.exists()


def test_a_full_disk_keeps_nothing_from_the_trash(runs, trash, monkeypatch):
    """Moving takes no room; only the days are not counted."""
    path = make(runs, 1, states=(3,))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_atomically", full)
    trash.take(path)
    (entry,) = trash.entries()
    assert not path.exists() and entry.days == 0 and trash.age() == []
    assert list(trash.empty([entry])) == [(entry, None)] and list(trash.root.iterdir()) == []


def test_a_killed_emptying_is_finished_and_never_restored(runs, trash, monkeypatch):
    path = make(runs, 1, states=(3,))
    pruned(runs, trash)

    def killed(folder, **_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            list(trash.empty(trash.entries()))
    with pytest.raises(ValueError, match="It is empty"):
        trash.restore(path.name, runs)
    trash.age()
    assert list(trash.root.iterdir()) == []


def test_a_run_that_is_trained_or_in_use_stays(runs, trash, monkeypatch):
    path = make(runs, 1, states=(3,))
    chosen = ALL.chosen(list_runs(runs))
    with lock.folder_lock(path):
        ((_, problem),) = ALL.remove(chosen, trash)
    assert "is training this very run" in problem and path.exists()

    def busy(self, target):
        raise PermissionError(13, "it is in use")

    monkeypatch.setattr(module.Path, "rename", busy)
    ((_, problem),) = ALL.remove(chosen, trash)
    assert "it is in use" in problem and path.exists() and trash.entries() == []


def test_the_last_moved_comes_first(runs, trash, clock):
    for number in (3, 1, 2):
        make(runs, number)
        pruned(runs, trash)
        clock[0] += 2 * DAY
        trash.age()
    assert [int(entry.run, 16) for entry in trash.entries()] == [2, 1, 3]
    assert [path.name for path in runs.iterdir()] == [lock.LOCKS]


@pytest.mark.parametrize("rules", [ALL, STATES], ids=["runs", "states"])
@pytest.mark.parametrize(
    ("number", "said"), [(18, "another drive than the trash"), (28, "full"), (13, "full")]
)
def test_what_cannot_be_moved_stays_and_leaves_nothing_in_the_trash(
    runs, trash, monkeypatch, rules, number, said
):
    path = make(runs, 1, results=("steps-00000004",), states=(3, 4))
    before = contents(path)

    def fail(self, target):
        raise OSError(number, "full")

    chosen = rules.chosen(list_runs(runs))
    with monkeypatch.context() as patch:
        patch.setattr(module.Path, "rename", fail)
        ((_, problem),) = rules.remove(chosen, trash)
    assert said in problem and contents(path) == before
    assert trash.entries() == [] and list(trash.root.iterdir()) == []


def test_states_of_which_one_cannot_be_moved_are_all_somewhere(runs, trash, monkeypatch):
    path = make(runs, 1, results=("steps-00000004",), states=(3, 4))
    before = contents(path)
    rename = module.Path.rename

    def fail(self, target):
        if "-00000004-" in self.name:
            raise PermissionError(13, "it is in use")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(module.Path, "rename", fail)
        ((_, problem),) = STATES.remove(STATES.chosen(list_runs(runs)), trash)
    assert "it is in use" in problem and len(list(path.glob("state-*"))) == 1
    trash.restore(path.name, runs)
    assert contents(path) == before
