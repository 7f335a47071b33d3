"""The table of steps and TensorBoard's curves: right, and right after a kill."""

import csv
import dataclasses
import math
import os
import random
import sys
import time

import pytest
import torch

from pack.tests.trainer.killed import Child
from pack.tests.trainer.tiny_cache import make_cache
from pack.tests.trainer.tiny_run import CONFIG
from pack.tests.trainer.watched_run import Stop, WatchedRun
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.validation import ValidationConfig
from pack.trainer.curves import tensorboard
from pack.trainer.curves.measurement import Measurement
from pack.trainer.curves.step_table import COLUMNS, StepTable
from pack.trainer.runs import history
from pack.trainer.runs.history import History
from pack.trainer.training.loop import StepEvent

TIMED = {"steps_per_second", "vram_allocated", "vram_reserved"}
CONFIG = dataclasses.replace(
    CONFIG,
    steps=10,
    validation=ValidationConfig(1, every=4, keep_best=True),
    optimiser=OptimiserConfig(learning_rate=1e-3, schedule="linear", warmup=2),
)


@pytest.fixture
def cached(tmp_path):
    return make_cache(tmp_path / "store")


def rows(folder):
    (path,) = folder.rglob("steps.csv")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def steady(folder):
    """The rows without what depends on the clock."""
    return [{k: v for k, v in row.items() if k not in TIMED} for row in rows(folder)]


def curves(folder, tag):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    (path,) = folder.rglob("tensorboard")
    found = accumulator.EventAccumulator(str(path)).Reload()
    return [(point.step, point.value) for point in found.Scalars(tag)]


def test_every_step_has_a_row_that_says_what_happened(cached, tmp_path):
    watched = WatchedRun(cached, CONFIG, tmp_path)
    result = watched.go()
    found, events = rows(tmp_path), watched.run.observer.events
    assert list(found[0]) == list(COLUMNS) and len(found) == 10
    for row, event in zip(found, events, strict=True):
        assert int(row["step"]) == event.step and int(row["epoch"]) == event.epoch
        assert float(row["loss"]) == event.loss == result.losses[event.step - 1]
        assert float(row["learning_rate"]) == event.learning_rate
        assert float(row["grad_norm"]) == event.grad_norm > 0
        assert row["vram_allocated"] == row["vram_reserved"] == ""
        assert [row[c] for c in ("loss_0_249", "loss_250_499", "loss_500_749", "loss_750_999")] == [
            "" if math.isnan(mean) else repr(mean) for mean in event.bands
        ]
    seconds = [1 / float(row["steps_per_second"]) for row in found]
    assert sum(seconds) == pytest.approx(events[-1].seconds)
    decay = 1 - 1 / 100
    for end in range(1, 11):
        weights = [decay ** (end - 1 - i) for i in range(end)]
        mean = sum(w * x for w, x in zip(weights, result.losses[:end], strict=True)) / sum(weights)
        assert float(found[end - 1]["smoothed_loss"]) == pytest.approx(mean)
    measured = {int(row["step"]): row for row in found if row["validation_difference"]}
    assert [one.step for one in result.validations] == list(measured) == [4, 8, 10]
    for one in result.validations:
        assert float(measured[one.step]["validation_difference"]) == one.difference
        assert float(measured[one.step]["validation_error"]) == one.error


def test_the_curves_are_read_back_by_tensorboard(cached, tmp_path):
    result = WatchedRun(cached, CONFIG, tmp_path).go()
    table = rows(tmp_path)
    for column, tag in tensorboard.TAGS.items():
        if not column.startswith("vram"):
            known = [row for row in table if row[column]]
            expected = [(int(row["step"]), pytest.approx(float(row[column]))) for row in known]
            assert curves(tmp_path, tag) == expected, tag
    for tag, margin in (("difference", 0.0), ("low", -1.96), ("high", 1.96)):
        expected = [
            (one.step, pytest.approx(one.difference + margin * one.error))
            for one in result.validations
        ]
        assert curves(tmp_path, f"validation/{tag}") == expected


def later(monkeypatch, seconds=10):
    """The clock goes on: no two pieces of a run begin in the same second, which orders event files."""
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + seconds)


@pytest.mark.parametrize("stop", [1, 4, 9])
def test_a_run_in_pieces_has_the_history_of_one_in_one(cached, tmp_path, monkeypatch, stop):
    whole = WatchedRun(cached, CONFIG, tmp_path / "whole").go()

    def cancel(step):
        if step == stop + 1:  # its state is not saved: this step comes again
            raise Stop

    first = WatchedRun(cached, CONFIG, tmp_path / "runs", at_step=cancel, every_state=stop)
    with pytest.raises(Stop):
        first.go()
    for path in (tmp_path / "runs").glob(f"*/state-{stop + 1:08}*"):
        path.unlink()
    later(monkeypatch)
    second = WatchedRun(cached, CONFIG, tmp_path / "runs")
    assert second.first == stop and second.go().losses == whole.losses
    assert steady(tmp_path / "runs") == steady(tmp_path / "whole")
    for tag in ("loss/smoothed", "validation/difference"):
        assert curves(tmp_path / "runs", tag) == curves(tmp_path / "whole", tag)


def attempt(cached, root):
    """Work for a child: a state after every third step."""

    def work(step_done):
        run = WatchedRun(cached, CONFIG, root, every_state=3, at_step=lambda step: step_done())
        run.go()

    return work


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kills_leave_whole_lines_and_the_history_of_an_uninterrupted_run(
    cached, tmp_path, monkeypatch
):
    result = WatchedRun(cached, CONFIG, tmp_path / "whole").go()
    whole, root = steady(tmp_path / "whole"), tmp_path / "runs"
    chance, met = random.Random(1), 0
    for _ in range(12):
        later(monkeypatch)
        child = Child(attempt(cached, root))
        met += child.kill(chance.randint(1, 4), chance.uniform(0, 0.03))
        if list(root.rglob("steps.csv")):
            left = steady(root)
            assert left == whole[: len(left)]
    while not list(root.rglob("steps-*.json")):
        later(monkeypatch)
        Child(attempt(cached, root)).wait()
    assert met >= 4 and steady(root) == whole
    assert curves(root, "loss/smoothed") == curves(tmp_path / "whole", "loss/smoothed")
    (best,) = root.rglob("best-*")
    assert (
        best.name
        == f"best-{min(result.validations, key=lambda v: v.difference).step:08}.safetensors"
    )


def line(step):
    return ",".join([str(step), *["1"] * (len(COLUMNS) - 1)])


HEAD = ",".join(COLUMNS)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", []),
        (HEAD, []),
        (f"{HEAD}\n", []),
        (f"{HEAD}\n{line(1)}\n{line(2)}\n{line(3)}\n{line(4)}\n", [1, 2, 3]),
        (f"{HEAD}\n{line(1)}\n{line(2)}", [1]),
        (f"{HEAD}\n{line(1)}\n2,1,\n{line(3)}\n", [1]),
        (f"{HEAD}\n{line(1)}\n{line(3)}\n", [1]),
        (f"{HEAD}\n{line(2)}\n{line(3)}\n", [2, 3]),
        (f"other\n{line(1)}\n", []),
        (f"{HEAD}\n{line(1)}\n\0\0\0\n", [1]),
    ],
)
def test_a_table_goes_on_after_its_whole_lines(tmp_path, text, kept):
    path = tmp_path / "steps.csv"
    path.write_text(text, newline="")
    StepTable(path, 3).write({**dict.fromkeys(COLUMNS), "step": 4, "loss": math.nan})
    expected = [HEAD, *map(line, kept), "4,,nan" + "," * (len(COLUMNS) - 3), ""]
    assert path.read_text() == "\n".join(expected)


def event(step):
    return StepEvent(step, 9, 1, False, 0.5, 1e-3, 0.1, True, float(step), step)


def test_a_full_disk_is_told_once_and_ends_nothing(tmp_path, monkeypatch, caplog):
    def full(self, row):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StepTable, "write", full)
    kept = History(tmp_path, [], torch.device("cpu"), lambda step: None)
    for step in (1, 2, 3):
        kept.on_step(event(step))
    kept.close()
    assert caplog.text.count("No space left") == 1
    assert [step for step, _ in curves(tmp_path, "loss/step")] == [1, 2, 3]


@pytest.mark.parametrize(
    "package",
    [
        "raise ImportError('it is broken')",
        "raise TypeError('it is broken: protobuf is too new')",
        "raise AttributeError('it is broken: numpy is too new')",
        None,
        "__version__ = '1.0'",
    ],
    ids=["broken", "type", "attribute", "missing", "old"],
)
def test_without_tensorboard_there_is_a_note_and_no_file(tmp_path, monkeypatch, caplog, package):
    pytest.importorskip("torch.utils.tensorboard")
    for name in list(sys.modules):
        if name.split(".")[0] == "tensorboard" or name.startswith("torch.utils.tensorboard"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    if package is not None:
        monkeypatch.delitem(sys.modules, "tensorboard")
        (tmp_path / "packages" / "tensorboard").mkdir(parents=True)
        (tmp_path / "packages" / "tensorboard" / "__init__.py").write_text(package)
        monkeypatch.syspath_prepend(tmp_path / "packages")
    caplog.set_level("INFO")
    folder = tmp_path / "run"
    folder.mkdir()
    kept = History(folder, [], torch.device("cpu"), lambda step: Measurement(step, 0.5, 0.1))
    kept.on_step(event(1))
    kept.close()
    assert "pip install --upgrade tensorboard" in caplog.text
    assert "it is broken" in caplog.text or package is None or "1.15" in caplog.text
    assert [path.name for path in folder.iterdir()] == ["steps.csv"]
    assert rows(folder)[0]["validation_difference"] == "0.5"


def test_the_event_file_of_an_earlier_version_stays_readable(tmp_path):
    pb = pytest.importorskip("tensorboard.compat.proto.event_pb2")
    summary = pytest.importorskip("tensorboard.compat.proto.summary_pb2").Summary
    records = pytest.importorskip("tensorboard.summary.writer.record_writer")
    folder = tmp_path / "tensorboard"
    folder.mkdir()
    file = (folder / f"events.out.tfevents.{time.time_ns():020}").open("xb")
    writer = records.RecordWriter(file)
    writer.write(pb.Event(file_version="brain.Event:2").SerializeToString())
    start = pb.SessionLog(status=pb.SessionLog.START)
    writer.write(pb.Event(step=1, session_log=start).SerializeToString())
    for step in (1, 2, 3):
        point = summary(value=[summary.Value(tag="loss/step", simple_value=0.25)])
        writer.write(pb.Event(step=step, summary=point).SerializeToString())
    writer.close()
    kept = History(tmp_path, [0.25, 0.25], torch.device("cpu"), lambda step: None)
    kept.on_step(event(3))
    assert curves(tmp_path, "loss/step") == [(1, 0.25), (2, 0.25), (3, 0.5)]  # before it is closed
    kept.close()


def test_memory_of_a_card_is_in_it(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 111)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 222)
    kept = history.History(tmp_path, [], torch.device("cuda"), lambda step: None)
    kept.on_step(event(1))
    kept.close()
    assert (rows(tmp_path)[0]["vram_allocated"], rows(tmp_path)[0]["vram_reserved"]) == (
        "111",
        "222",
    )
