"""Checkpoints during training: which files, what is in them, and after a resume."""

import contextlib
import dataclasses
import os
import random

import pytest
import torch

from pack.tests.trainer.killed import Child
from pack.tests.trainer.tiny_cache import make_cache, make_item
from pack.tests.trainer.tiny_run import CONFIG, Observer, Run
from pack.trainer.config.checkpoints import CheckpointConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.lora_files.file import read_lora
from pack.trainer.runs import checkpoints as module
from pack.trainer.runs.checkpoints import Checkpoints
from pack.trainer.runs.state_files import StateFiles

STEPS = 10  # of 3 in an epoch: 5 images in batches of 2
LONG = dataclasses.replace(CONFIG, steps=STEPS)


@pytest.fixture
def cached(tmp_path):
    return make_cache(tmp_path, *(make_item(number) for number in range(5)))


class Stop(Exception):
    pass


def train(cached, folder, settings, config=LONG, stop=None, step_done=lambda: None):
    """A training that goes on from the folder's state; checkpoints before the state, as the host has it."""
    states = StateFiles(folder)
    start = states.latest(config.steps)

    def follow(event):
        writer.on_step(event)
        states.save(run.loop.state())
        step_done()
        if event.step == stop:
            raise Stop

    run = Run(cached, config, observer=Observer(follow), start=start)
    writer = Checkpoints(
        folder / "checkpoints", settings, run.loop, 4, lambda step: {"ss_steps": str(step)}
    )
    if start is not None:
        planned = next(run.data.steps(config, start.step - 1))
        writer.write(start.step, planned.ends_epoch * (planned.epoch + 1), config.steps)
    with contextlib.suppress(Stop):
        run.go()
    return run


def names(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


@pytest.mark.parametrize("every", [1, 7, 10, 250])
@pytest.mark.parametrize("last", [1, 9, 10, 30, 251])
def test_what_stays_is_what_kohya_would_keep(every, last):
    """Straight from kohya's words: of the last n steps, back to the multiple at or before n + 1 ago."""
    config, kept = CheckpointConfig(every_steps=every, keep_last_steps=last), set()
    for step in range(every, 60 * every, every):
        kept.add(step)
        kept.discard(config.step_to_remove(step))
        assert kept == {
            s for s in range(every, step + 1, every) if s > (step - last - 1) // every * every
        }


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, []),
        ({"every_steps": 4}, ["at-step00000004", "at-step00000008"]),
        ({"every_steps": 5, "name": "x"}, ["x-step00000005", "x-step00000010"]),
        ({"every_steps": 2, "keep_last_steps": 3}, ["at-step00000008", "at-step00000010"]),
        ({"every_epochs": 1}, ["epoch-000001", "epoch-000002", "epoch-000003"]),
        ({"every_epochs": 1, "keep_last_epochs": 2}, ["epoch-000002", "epoch-000003"]),
        ({"every_epochs": 2, "every_steps": 9}, ["at-step00000009", "epoch-000002"]),
        ({"epoch_ratio": 2}, ["epoch-000002"]),  # 4 epochs // 2
        ({"epoch_ratio": 9}, ["epoch-000001", "epoch-000002", "epoch-000003"]),
    ],
)
def test_files_of_a_run(cached, tmp_path, settings, expected):
    train(cached, tmp_path / "run", CheckpointConfig(**settings))
    found = names(tmp_path / "run") if expected else []
    assert found == [f"{name}.safetensors" for name in expected]


def test_the_last_epoch_has_none(cached, tmp_path):
    whole = dataclasses.replace(CONFIG, steps=6)
    train(cached, tmp_path / "run", CheckpointConfig(every_epochs=1), whole)
    assert names(tmp_path / "run") == ["epoch-000001.safetensors"]
    train(cached, tmp_path / "run", CheckpointConfig(every_epochs=1))  # it was not the last
    assert names(tmp_path / "run") == [f"epoch-{n:06}.safetensors" for n in (1, 2, 3)]


@pytest.mark.parametrize("kind", ["AdamW", "AdamWScheduleFree"])
def test_a_checkpoint_is_the_result_of_a_run_of_as_many_steps(cached, tmp_path, kind):
    pytest.importorskip("schedulefree")
    optimiser = OptimiserConfig(learning_rate=1e-3, type=kind)
    config = dataclasses.replace(LONG, optimiser=optimiser)
    settings = CheckpointConfig(every_steps=4, every_epochs=2, precision="fp32")
    train(cached, tmp_path / "run", settings, config)
    for name, steps in (("at-step00000004", 4), ("epoch-000002", 6)):
        found = read_lora(tmp_path / "run" / "checkpoints" / f"{name}.safetensors")
        shorter = Run(cached, dataclasses.replace(config, steps=steps))
        shorter.go()
        expected = shorter.network.state_dict()
        assert found.keys() == expected.keys() and found.metadata["ss_steps"] == str(steps)
        assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("stop", [1, 3, 6, 8])
def test_after_a_resume_the_files_are_those_of_one_piece(cached, tmp_path, stop):
    settings = CheckpointConfig(
        every_steps=2, keep_last_steps=4, every_epochs=1, keep_last_epochs=2
    )
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(cached, whole, settings)
    train(cached, parts, settings, stop=stop)
    before = {path.name: path.stat().st_mtime_ns for path in (parts / "checkpoints").glob("*")}
    train(cached, parts, settings)
    assert names(parts) == names(whole)
    for name in names(whole):
        expected, found = (read_lora(run / "checkpoints" / name) for run in (whole, parts))
        assert found.metadata == expected.metadata  # with kohya's hash of the tensors
    after = {path.name: path.stat().st_mtime_ns for path in (parts / "checkpoints").glob("*")}
    assert all(after[name] == time for name, time in before.items() if name in after)


def test_one_that_was_cut_off_is_made_up_for(cached, tmp_path):
    """Saved by the last will of a cancelled run: the state has a step whose checkpoint is not there."""
    train(cached, tmp_path / "run", CheckpointConfig(), stop=4)
    train(cached, tmp_path / "run", CheckpointConfig(every_steps=4))
    assert names(tmp_path / "run") == ["at-step00000004.safetensors", "at-step00000008.safetensors"]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kills_leave_the_files_of_one_piece(cached, tmp_path):
    settings = CheckpointConfig(every_steps=3, keep_last_steps=30, every_epochs=5)
    config = dataclasses.replace(CONFIG, steps=60)
    whole, parts, done = tmp_path / "whole", tmp_path / "parts", tmp_path / "done"
    train(cached, whole, settings, config)

    def attempt(step_done):
        train(cached, parts, settings, config, step_done=step_done)
        done.touch()

    rng, met = random.Random(0), 0
    while not done.exists():
        child = Child(attempt)
        met += child.kill(rng.randint(1, 6), rng.uniform(0, 0.02)) if met < 12 else child.wait()
    assert met >= 6
    assert names(parts) == names(whole)
    for name in names(whole):
        expected, found = (read_lora(run / "checkpoints" / name) for run in (whole, parts))
        assert found.metadata == expected.metadata


def test_minutes(cached, tmp_path, monkeypatch):
    """Four minutes a step: every ten minutes is after the third step, counted from the last file."""
    clock = iter(range(0, 10**6, 240))
    now = [0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def later(self, event):
        now[0] = next(clock) + 240
        original(self, event)

    original = Checkpoints.on_step
    monkeypatch.setattr(Checkpoints, "on_step", later)
    train(cached, tmp_path / "run", CheckpointConfig(every_minutes=10))
    assert names(tmp_path / "run") == [f"at-step{n:08}.safetensors" for n in (3, 6, 9)]


def test_a_full_disk_is_no_reason_to_end(cached, tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_lora", full)
    run = train(cached, tmp_path / "run", CheckpointConfig(every_steps=5))
    assert len(run.observer.events) == STEPS
    assert caplog.text.count("a checkpoint could not be written") == 2


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"every_steps": -1}, "every_steps is -1"),
        ({"keep_last_epochs": -1}, "keep_last_epochs is -1"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
        ({"name": "a/b"}, "name is 'a/b'"),
        ({"name": "../b"}, "name"),
        ({"name": "con"}, "name: 'con' cannot be the name of a LoRA file"),
    ],
)
def test_bad_settings_are_refused(values, said):
    with pytest.raises(ValueError, match="Checkpoint settings: .*" + said):
        CheckpointConfig(**values)
