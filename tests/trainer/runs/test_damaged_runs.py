"""A finished run with any of its files damaged: a clear answer everywhere, and the other runs stay listed."""

import dataclasses
import json
import os
import shutil
from contextlib import suppress

import pytest

from pack.base.write_errors import CannotWrite
from pack.tests.trainer.tiny_cache import make_cache
from pack.tests.trainer.tiny_run import CONFIG
from pack.tests.trainer.watched_run import WatchedRun, find, run_folder
from pack.trainer.config.validation import ValidationConfig
from pack.trainer.curves.loss_plot import draw_loss
from pack.trainer.curves.step_table import StepTable
from pack.trainer.files.lock import owner
from pack.trainer.runs import report
from pack.trainer.runs.continue_from import find_origin
from pack.trainer.runs.report import write_report
from pack.trainer.runs.run_list import Pruning, find_run, list_runs

STEPS = 4
RUN = dataclasses.replace(
    CONFIG, steps=STEPS, validation=ValidationConfig(1, every=2, keep_best=True)
)
OTHER = dataclasses.replace(CONFIG, steps=1, seed=9)
HUGE, MISSING = 10**400, object()
REPLACED = {
    "null": None,
    "list": [[]],
    "text": "x",
    "huge": HUGE,
    "names": {"a": 1},
    "missing": MISSING,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The cache and the folder of runs: one that is finished, with everything, and another one."""
    folder = tmp_path_factory.mktemp("whole")
    cached = make_cache(folder / "store")
    losses = iter([[3.0, 4.0], [2.0, 3.5], [2.5, 3.0]])
    WatchedRun(cached, RUN, folder / "runs", measure=lambda step: next(losses), every_state=2).go()
    WatchedRun(cached, OTHER, folder / "runs").go()
    return cached, folder / "runs"


@pytest.fixture(autouse=True)
def no_versions(monkeypatch):
    """Of the libraries: to find them out takes longer than all that is tested here."""
    monkeypatch.setattr(report, "_versions", dict)


@pytest.fixture
def runs(whole, tmp_path):
    """A copy of the runs that may be damaged."""
    return shutil.copytree(whole[1], tmp_path / "runs")


def places(value, place=()):
    """Where the values of a JSON file stand, the file itself first."""
    yield place
    children = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        children = enumerate(value)
    for name, child in children:
        yield from places(child, (*place, name))


def replaced(value, place, new):
    """A copy of a JSON value with another one in that place."""
    if not place:
        return new
    copy = json.loads(json.dumps(value))
    parent = copy
    for name in place[:-1]:
        parent = parent[name]
    if new is MISSING:
        del parent[place[-1]]
    else:
        parent[place[-1]] = new
    return copy


def look(runs):
    """What lists a run and compares with it: a clear result, or a sentence."""
    listed = list_runs(runs)
    assert run_folder(runs, OTHER).path.name in [run.name for run in listed if not run.damage]
    name = run_folder(runs, RUN).path.name
    for run in listed:
        assert run.status and run.size > 0 and isinstance(run.steps, int) and run.trigger == ""
        for rules in (Pruning(0, 0.0), Pruning(0, 0.0, only_states=True)):
            rules.chosen([run])
    run_folder(runs, dataclasses.replace(RUN, seed=5)).nearest(RUN)
    try:
        find_origin(runs, name, RUN)
    except ValueError as problem:
        assert name in str(problem)
    run = find_run(runs, name)
    assert run is not None
    return run


def use(cached, runs, file):
    """What reads the result of a run of which that file is damaged; what a queue of it would give."""
    run = look(runs)
    assert owner(run.path) is None
    write_report(run, runs.parent / "report.zip", {}, names=False)
    if file.startswith("state"):
        try:
            find_origin(runs, run.name, RUN).load()
        except ValueError as problem:
            assert str(run.path) in str(problem)
    found = find(cached, RUN, runs)
    if found is not None:
        assert found.summary() and len(found.losses) == STEPS and found.loss_map()
        draw_loss(found.losses, 64, 48, validations=found.validations)
    return found


@pytest.mark.parametrize("kind", REPLACED)
def test_any_value_of_a_description(whole, runs, kind):
    path = run_folder(runs, RUN).path / "run.json"
    content = json.loads(path.read_text())
    every = list(places(content))[kind == "missing" :]
    damages = []
    for place in every:
        path.write_text(json.dumps(replaced(content, place, REPLACED[kind])))
        damages.append(look(runs).damage)
    told = [damage for damage in damages if damage]
    assert len(every) > 90 and all("run.json is damaged: " in damage for damage in told)
    numbers = [place for place, damage in zip(every, damages, strict=True) if damage]
    if kind != "missing":  # what an old run does not say is left out
        assert ("config", "lora", "rank") in numbers
        assert ("config", "optimiser") in numbers or kind == "names"
        assert ("inputs", "data") in numbers or kind == "text"
    assert ("config",) in numbers and ("inputs",) in numbers and ("config", "steps") in numbers


@pytest.mark.parametrize("kind", REPLACED)
@pytest.mark.parametrize("file", ["steps-00000004.json", "validation.json"])
def test_any_value_of_a_result(whole, runs, file, kind):
    path = run_folder(runs, RUN).path / file
    content = json.loads(path.read_text())
    for place in list(places(content))[kind == "missing" :]:
        path.write_text(json.dumps(replaced(content, place, REPLACED[kind])))
        found = use(whole[0], runs, file)
        if place[:1] == ("losses",):
            assert found is None, place
        elif place and kind in ("null", "missing") and file.startswith("steps"):
            assert found is not None, place  # nobody stopped it; old versions did not say who asked
        for other in whole[1].rglob("*.safetensors"):  # the best goes, when it is not the best
            shutil.copyfile(other, runs / other.relative_to(whole[1]))


DAMAGES = {
    "empty": lambda data: b"",
    "cut in half": lambda data: data[: len(data) // 2],
    "without its end": lambda data: data[:-1],
    "binary": lambda data: os.urandom(100),
    "zeros": lambda data: bytes(len(data)),
    "utf-16": lambda data: data.decode("latin-1").encode("utf-16"),
    "deep": lambda data: b"[" * 100_000,
}


@pytest.mark.parametrize("damage", [*DAMAGES, "missing", "a folder"])
def test_every_file_in_every_state(whole, runs, damage):
    """Also LoRAs, states, the table, the log, TensorBoard's, the lock."""
    root = run_folder(runs, RUN).path
    files = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    (root / "lock.json").write_text('{"host": "h", "pid": 1, "since": "now"}')
    assert len(files) >= 7
    for file in (*files, "lock.json"):
        path = root / file
        data = path.read_bytes()
        path.unlink()
        if damage == "a folder":
            path.mkdir()
        elif damage != "missing":
            path.write_bytes(DAMAGES[damage](data))
        found = use(whole[0], runs, path.name)
        with suppress(CannotWrite):  # a folder has its name
            StepTable(root / "steps.csv", STEPS)
        if path.name.startswith(("steps-", "best-")) and damage != "utf-16":
            assert found is None, file
        if path.is_dir():
            path.rmdir()
        path.write_bytes(data)


def flips(data, count=30):
    """The file with a bit flipped: everywhere in the header's first bytes, then here and there."""
    header = 8 + int.from_bytes(data[:8], "little")
    size = len(data) - header
    spots = [*range(0, header, header // count), *range(header, len(data), size // count)]
    for spot in spots:
        changed = bytearray(data)
        changed[spot] ^= 1 << spot % 8
        yield spot, bytes(changed)


@pytest.mark.parametrize("file", ["steps-00000004.safetensors", "best-00000002.safetensors"])
def test_a_flipped_bit_is_never_given_out(whole, runs, file, caplog):
    path = run_folder(runs, RUN).path / file
    data = path.read_bytes()
    for spot, changed in flips(data):
        path.write_bytes(changed)
        assert find(whole[0], RUN, runs) is None, spot
        assert file in caplog.text
        caplog.clear()
    path.write_bytes(data)
    assert find(whole[0], RUN, runs) is not None


@pytest.mark.parametrize(
    "file", ["steps-00000004.safetensors", "steps-00000004.json", "best-00000002.safetensors"]
)
def test_it_is_made_again_from_the_last_state_and_said(whole, runs, file):
    cached, root = whole
    good = find(cached, RUN, root)
    path = run_folder(runs, RUN).path / file
    path.write_bytes(path.read_bytes()[:-3])
    again = WatchedRun(
        cached, RUN, runs, measure=lambda step: [[3.0, 4.0], [], [2.0, 3.5], [], [2.5, 3.0]][step]
    )
    assert again.book.find(kept=True) is None
    assert again.first == (
        0 if file.startswith("best") else STEPS
    )  # the last state before the best
    result = again.go()
    assert result.losses == good.losses
    for ours, theirs in ((result.lora, good.lora), (result.best, good.best)):
        assert all(bool((ours[key] == theirs[key]).all()) for key in theirs)
    assert result.trained and "nothing changed" not in result.summary()
    assert f"{file} is damaged: " in result.summary() and "made again" in result.summary()
    assert find(cached, RUN, runs) is not None


def test_a_result_from_before_there_were_checksums_counts(whole, runs):
    """kohya's hash of the weights is what it has."""
    from safetensors.torch import load, save

    path = run_folder(runs, RUN).path / "steps-00000004.safetensors"
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata = {k: v for k, v in header["__metadata__"].items() if k.startswith("ss")}
    path.write_bytes(save(load(data), metadata))
    assert find(whole[0], RUN, runs) is not None
    old = bytearray(path.read_bytes())
    old[-1] ^= 64
    path.write_bytes(old)
    assert find(whole[0], RUN, runs) is None
    path.write_bytes(save(load(data), {}))
    assert find(whole[0], RUN, runs) is None


def test_a_run_without_its_description_is_listed_and_can_go(runs):
    path = run_folder(runs, RUN).path
    (path / "run.json").unlink()
    run = find_run(runs, path.name)
    assert "run.json is missing" in run.damage and run.status == "finished" and run.config == {}
    assert [problem for _, problem in Pruning(0, 0.0).remove([run])] == [None]
    assert not path.exists()


def test_a_checkpoint_that_is_damaged_is_written_again(whole, tmp_path, caplog):
    from pack.tests.trainer.tiny_run import Run
    from pack.trainer.config.checkpoints import CheckpointConfig
    from pack.trainer.lora_files.file import read_own_lora
    from pack.trainer.runs.checkpoints import Checkpoints

    run = Run(whole[0], CONFIG)
    writer = Checkpoints(
        tmp_path, CheckpointConfig(every_steps=2), run.loop, 1, lambda step: {"ss": "1"}
    )
    writer.write(2, 0, 6)
    (path,) = tmp_path.glob("*.safetensors")
    data = path.read_bytes()
    for spot, changed in flips(data, 5):
        path.write_bytes(changed)
        writer.write(2, 0, 6)
        assert read_own_lora(path).metadata["ss"] == "1", spot
    assert caplog.text.count("written again") == len(list(flips(data, 5))) > 9
    before = path.stat().st_ino
    writer.write(2, 0, 6)
    assert path.stat().st_ino == before
