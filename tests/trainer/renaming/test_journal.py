"""The journal of a renaming: killed after any single step, everything can be finished or taken back."""

import json
import os
from pathlib import Path

import pytest

from pack.trainer.renaming import journal as module
from pack.trainer.renaming.journal import Move, Renaming, forget_older, last_renaming

NAMES = {
    "a.png": "b.png",  # a ring
    "b.png": "c.png",
    "c.png": "a.png",
    "x.png": "y.png",  # a chain
    "y.png": "new.png",
    "Case.txt": "case.txt",
    "masks/a.png": "b.png",
}


real = module.time.gmtime


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "set"
    (root / "masks").mkdir(parents=True)
    for name in [*NAMES, "other.txt"]:
        (root / name).write_text(f"was {name}")
    return root


def moves(folder):
    found = []
    for old, new in NAMES.items():
        path = folder / old
        found.append(Move(path.parent, path.name, new, path.stat().st_size))
    return found


def begin(folder):
    return Renaming.begin(folder.parent / "journals", moves(folder))


def found(folder):
    """The last renaming as another process finds it."""
    return last_renaming(folder.parent / "journals", [folder])


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def renamed(before):
    """What the names must be in the end, by an independent rule."""
    after = {"other.txt": "was other.txt"}
    for old, new in NAMES.items():
        after["masks/" * old.startswith("masks/") + new] = before[old]
    return after


def steps(monkeypatch, until):
    """Kill after so many renames and journal writes; None: only count."""
    count = [0]
    rename, write = module._rename, module.write_atomically

    def counted(function):
        def step(*arguments, **options):
            if count[0] == until:
                raise Killed
            count[0] += 1
            function(*arguments, **options)

        return step

    monkeypatch.setattr(module, "_rename", counted(rename))
    monkeypatch.setattr(module, "write_atomically", counted(write))
    return count


def test_every_file_gets_its_name_and_back(folder):
    before = contents(folder)
    renaming = begin(folder)
    assert contents(folder) == before and renaming.is_interrupted
    renaming.forward()
    assert contents(folder) == renamed(before)
    assert found(folder).stage == "arrived"
    found(folder).backward()
    assert contents(folder) == before and found(folder).stage == "undone"


def test_where_capitals_do_not_count(folder, monkeypatch):
    """A file system that takes Case.txt and case.txt for one, and refuses to rename over a file."""
    before = contents(folder)

    def there(path):
        path = Path(path)
        return path.name.casefold() in {other.name.casefold() for other in path.parent.iterdir()}

    monkeypatch.setattr(os.path, "lexists", there)
    renaming = begin(folder)
    renaming.forward()
    assert contents(folder) == renamed(before)
    found(folder).backward()
    assert contents(folder) == before


STEPS = 2 * len(NAMES) + 3  # each file moves twice; a journal before, between and after


def killed_run(folder, monkeypatch, step):
    with monkeypatch.context() as patch:
        steps(patch, step)
        with pytest.raises(Killed):
            begin(folder).forward()


@pytest.mark.parametrize("step", range(STEPS))
@pytest.mark.parametrize("way", ["forward", "backward", "forward and undo", "back and again"])
def test_killed_anywhere_it_can_be_finished_or_taken_back(folder, monkeypatch, step, way):
    before = contents(folder)
    killed_run(folder, monkeypatch, step)
    assert sorted(contents(folder).values()) == sorted(before.values())
    if step == 0:
        assert found(folder) is None and contents(folder) == before
        return
    pending = found(folder)
    assert pending.is_interrupted
    if way.startswith("forward"):
        pending.forward()
        assert contents(folder) == renamed(before) and found(folder).stage == "arrived"
    else:
        pending.backward()
        assert contents(folder) == before and found(folder).stage == "undone"
    if way == "forward and undo":
        found(folder).backward()
        assert contents(folder) == before
    if way == "back and again":
        begin(folder).forward()
        assert contents(folder) == renamed(before)


@pytest.mark.parametrize("step", range(STEPS))
@pytest.mark.parametrize("way", ["forward", "backward"])
def test_an_undo_that_is_killed_anywhere_can_go_both_ways(folder, monkeypatch, step, way):
    before = contents(folder)
    begin(folder).forward()
    with monkeypatch.context() as patch:
        steps(patch, step)
        with pytest.raises(Killed):
            found(folder).backward()
    pending = found(folder)
    if step == 0:
        assert pending.stage == "arrived" and contents(folder) == renamed(before)
        return
    getattr(pending, way)()
    assert contents(folder) == (renamed(before) if way == "forward" else before)


@pytest.mark.parametrize("step", range(1, STEPS, 3))
def test_killed_again_and_again(folder, monkeypatch, step):
    before = contents(folder)
    killed_run(folder, monkeypatch, step)
    for more in range(STEPS + 5):
        with monkeypatch.context() as patch:
            steps(patch, 1 + more % 3)
            try:
                found(folder).backward()
                break
            except Killed:
                pass
    assert contents(folder) == before


def test_there_are_as_many_steps_as_the_tests_kill(folder, monkeypatch):
    count = steps(monkeypatch, None)
    renaming = begin(folder)
    renaming.forward()
    assert count == [STEPS]
    renaming.backward()
    assert count == [2 * STEPS]


def test_the_journal_is_there_first_and_names_every_pair(folder, monkeypatch):
    killed_run(folder, monkeypatch, 1)
    (path,) = (folder.parent / "journals").iterdir()
    content = json.loads(path.read_text())
    pairs = {
        (f"{content['folders'][place]}{os.sep}{old}", new, size)
        for place, old, new, size in content["files"]
    }
    assert pairs == {(str(m.folder / m.old), m.new, m.size) for m in moves(folder)}


def test_the_journal_and_the_names_reach_the_disk(folder, monkeypatch):
    told = []
    monkeypatch.setattr(module, "sync_folder", lambda path: told.append(path.name))
    monkeypatch.setattr(os, "fsync", lambda handle: told.append("journal"))
    begin(folder).forward()
    assert told == ["set", "masks", "journal", "journals"] * 3


def spoil(folder, what):
    if what == "gone":
        (folder / "new.png").unlink()
    elif what == "changed":
        (folder / "new.png").write_text("longer than it was")
    elif what == "in the way":
        (folder / "X.PNG").write_text("mine")
    elif what == "new":
        (folder / "case.json").write_text("mine")


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("gone", "new.png is gone"),
        ("changed", "new.png changed"),
        ("in the way", "X.PNG is in the way"),
        ("new", "case.json is new"),
    ],
)
def test_an_undo_is_refused_when_files_are_not_as_they_were_left(folder, what, said):
    begin(folder).forward()
    spoil(folder, what)
    after = contents(folder)
    with pytest.raises(ValueError, match=rf"Nothing was renamed now.*\n.*{said}$"):
        found(folder).backward()
    assert contents(folder) == after and found(folder).stage == "arrived"


def test_a_file_that_comes_in_the_way_meanwhile_is_not_overwritten(folder, monkeypatch):
    rename = module._rename

    def late(source, target):
        if target.name == "new.png":
            target.write_text("mine")
        rename(source, target)

    monkeypatch.setattr(module, "_rename", late)
    renaming = begin(folder)
    with pytest.raises(FileExistsError, match=r"new\.png"):
        renaming.forward()
    assert (folder / "new.png").read_text() == "mine"
    with pytest.raises(ValueError, match=r"new\.png is in the way"):
        renaming.forward()
    (folder / "new.png").unlink()
    monkeypatch.undo()
    renaming.forward()
    assert found(folder).stage == "arrived"


def test_a_plan_that_is_old_already_is_refused_before_its_journal_is_written(folder):
    plan = moves(folder)
    (folder / "x.png").unlink()
    with pytest.raises(ValueError, match=r"x\.png is gone"):
        Renaming.begin(folder.parent / "journals", plan)
    assert not (folder.parent / "journals").exists()


def test_only_the_last_renaming_of_a_folder_is_kept(folder, tmp_path):
    journals = tmp_path / "journals"
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.png").write_text("a")
    elsewhere = Renaming.begin(journals, [Move(other, "a.png", "b.png", 1)])
    first = begin(folder)
    first.forward()
    second = Renaming.begin(journals, [Move(folder, "other.txt", "z.txt", 13)])
    assert found(folder).journal == second.journal
    forget_older(second)
    assert set(journals.iterdir()) == {elsewhere.journal, second.journal}
    assert last_renaming(journals, [tmp_path / "none"]) is None
    assert last_renaming(tmp_path / "no journals", [folder]) is None


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": 2}', '{"format": 1, "folders": [], "files": [[0]]}']
)
def test_a_journal_of_no_use_is_passed_over(folder, text):
    begin(folder).forward()
    (folder.parent / "journals" / "99999999-000000-0.json").write_text(text)
    assert found(folder).stage == "arrived"


@pytest.mark.parametrize("name", ["../out", "a/b", "..", "", "/out"])
@pytest.mark.parametrize("place", [1, 2, "mark"])
def test_a_journal_whose_names_are_paths_is_passed_over(folder, name, place):
    begin(folder).forward()
    (path,) = (folder.parent / "journals").iterdir()
    content = json.loads(path.read_text())
    (content if place == "mark" else content["files"][0])[place] = name
    path.write_text(json.dumps(content))
    assert found(folder) is None


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *((place, value) for place in (1, 2) for value in ("../out.png", "/out.png", "..", "", "a\\b.png", "a\0.png")),
        *((2, value) for value in ("y.py", "y", "y.txt", "y.png.exe")),
        ("mark", "../"),
    ],
)  # fmt: skip
def test_a_journal_that_we_would_not_write_is_of_no_use(folder, place, value):
    """Whoever can put a file into the output folder must not rename by it what he likes."""
    renaming = begin(folder)
    content = json.loads(renaming.journal.read_text())
    if place == "mark":
        content["mark"] = value
    else:
        (row,) = (row for row in content["files"] if row[1] == "x.png")
        row[place] = value
    renaming.journal.write_text(json.dumps(content))
    assert found(folder) is None


def turn(folder, number):
    """A renaming of one file there and back: the newest journal of ``number``."""
    old, new = (f"n{number - 1}.txt", f"n{number}.txt") if number else ("other.txt", "n0.txt")
    move = Move(folder, old, new, (folder / old).stat().st_size)
    renaming = Renaming.begin(folder.parent / "journals", [move])
    renaming.forward()
    return renaming


@pytest.mark.parametrize("times", [(3, 2, 1, 0), (5, 5, 5, 5), (0, 9, 1, 8)])
def test_the_newest_is_the_last_one_whatever_the_clock_says(folder, monkeypatch, times):
    for number, hours in enumerate(times):
        monkeypatch.setattr(module.time, "gmtime", lambda hours=hours: real(1e9 + 3600 * hours))
        renaming = turn(folder, number)
        for path in renaming.journal.parent.iterdir():
            os.utime(path, (1e9 - number,) * 2)
        assert found(folder).journal == renaming.journal
        assert len(list(renaming.journal.parent.iterdir())) == number + 1
    forget_older(found(folder))
    assert list(renaming.journal.parent.iterdir()) == [renaming.journal]
    found(folder).backward()
    assert (folder / "n2.txt").exists()


def test_journals_of_old_versions_are_older(folder):
    old = turn(folder, 0)
    old.journal.rename(old.journal.with_name("20991231-235959-000000001.json"))
    assert found(folder).stage == "arrived"
    new = turn(folder, 1)
    assert found(folder).journal == new.journal
    forget_older(new)
    assert len(list(new.journal.parent.iterdir())) == 1


def broken(content, place, value):
    copy = json.loads(json.dumps(content))
    parent = copy
    for name in place[:-1]:
        parent = parent[name]
    parent[place[-1]] = value
    return copy


PLACES = [
    ("format",), ("stage",), ("mark",), ("folders",), ("folders", 0), ("files",), ("files", 0),
    ("files", 0, 0), ("files", 0, 1), ("files", 0, 2), ("files", 0, 3),
]  # fmt: skip


@pytest.mark.parametrize(
    "value", [None, [], {}, "../x", -1, 1.5, 10**30, "", "a/b", [["x"]]], ids=repr
)
def test_a_damaged_journal_hides_no_other_and_renames_nothing(folder, value, caplog):
    good = turn(folder, 0)
    journal = turn(folder, 1).journal
    content, before = json.loads(journal.read_text()), contents(folder)
    for place in PLACES:
        journal.write_text(json.dumps(broken(content, place, value)))
        caplog.clear()
        assert found(folder).journal == good.journal, place
        assert place == ("format",) or f"{journal} is damaged" in caplog.text, place
    assert contents(folder) == before
