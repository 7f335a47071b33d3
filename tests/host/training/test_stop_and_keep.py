"""Stop and keep: the run ends with what it has, Queue gives that, and the rest can be trained."""

import json
import threading

import pytest
import torch

from pack.nodes.host.previews.previewer import PreviewConfig
from pack.nodes.host.training import train as training
from pack.nodes.host.training import trainings
from pack.nodes.host.training.trainings import TRAININGS
from pack.tests.host import scene
from pack.trainer.config.checkpoints import CheckpointConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.lora_files.file import read_lora

pytestmark = [pytest.mark.main_host, pytest.mark.slow]

SCHEDULE_FREE = TrainConfig(
    steps=7, optimiser=OptimiserConfig(type="AdamWScheduleFree", learning_rate=1e-2)
)


def train(tiny, cached, recipe, **extra):
    extra = {"node_id": "2:7", **extra}
    with torch.inference_mode():
        return training.train_lora(scene.request(tiny, cached, recipe, **extra))[0]


def press_after(monkeypatch, step):
    """The button, pressed on another thread while this step is the last one done."""
    original = trainings.Training.on_step

    def on_step(self, event):
        if event.step == step:
            assert TRAININGS.find("2:7") is self and TRAININGS.find("7") is None
            pressed = threading.Thread(target=self.ask, args=("stop",))
            pressed.start()
            pressed.join()
        return original(self, event)

    monkeypatch.setattr(trainings.Training, "on_step", on_step)


def states():
    """How the latest training of every node stands."""
    return [training["state"] for training in TRAININGS.describe()]


def same(one, other):
    assert one.losses == other.losses
    return all(torch.equal(one.lora[key], other.lora[key]) for key in one.lora)


@pytest.mark.parametrize("recipe", [scene.config(steps=7), SCHEDULE_FREE], ids=["plain", "free"])
def test_stop_queue_and_continue(tiny, cached, monkeypatch, elsewhere, recipe):
    before = scene.snapshot(tiny.model)
    with monkeypatch.context() as patch:
        press_after(patch, 3)
        stopped = train(tiny, cached, recipe)
    assert scene.snapshot(tiny.model) == before and states() == ["ended"]
    assert stopped.trained and len(stopped.losses) == 3
    assert "Stopped by the user after step 3 of 7" in stopped.summary()
    assert stopped.lora.metadata["ss_steps"] == "3"
    kept = train(tiny, cached, recipe)
    assert not kept.trained and same(kept, stopped) and kept.stopped == stopped.stopped
    rest = train(tiny, cached, recipe, continue_stopped=True)
    assert rest.trained and rest.stopped is None and len(rest.losses) == 7
    again = train(tiny, cached, recipe)  # the whole run overrides what was kept
    assert not again.trained and same(again, rest)
    elsewhere()
    assert same(rest, train(tiny, cached, recipe))


def test_what_was_kept_is_a_run_of_as_many_steps(tiny, cached, monkeypatch, elsewhere):
    with monkeypatch.context() as patch:
        press_after(patch, 4)
        kept = train(tiny, cached, scene.config(steps=9))
    elsewhere()
    assert same(kept, train(tiny, cached, scene.config(steps=4)))


def test_another_number_of_steps_goes_on_by_itself(tiny, cached, monkeypatch):
    with monkeypatch.context() as patch:
        press_after(patch, 2)
        train(tiny, cached, scene.config(steps=9))
    more = train(tiny, cached, scene.config(steps=5))
    assert more.trained and len(more.losses) == 5


def test_a_stop_after_the_last_step_is_the_end(tiny, cached, monkeypatch):
    press_after(monkeypatch, 2)
    result = train(tiny, cached, scene.config(steps=2))
    assert result.stopped is None and result.path.name.startswith("steps-")


def test_checkpoints_lie_in_the_run(tiny, cached, monkeypatch):
    """Two steps an epoch: with a stop in the middle, and metadata that says the true epoch."""
    settings = CheckpointConfig("mona", every_epochs=1, every_steps=3)
    previews = PreviewConfig(("thing",), every=3, width=64, height=64, steps=1)
    extra = {"checkpoints": settings, "clip": tiny.clip, "vae": tiny.vae, "previews": previews}
    with monkeypatch.context() as patch:
        press_after(patch, 3)
        train(tiny, cached, scene.config(steps=8), **extra)
    result = train(tiny, cached, scene.config(steps=8), continue_stopped=True, **extra)
    folder = result.path.parent / "checkpoints"
    found = {path.stem: path for path in folder.iterdir()}
    epochs = {f"mona-{n:06}" for n in (1, 2, 3)}
    assert found.keys() == epochs | {"mona-step00000003", "mona-step00000006"}
    for stem, steps, epoch in (("mona-step00000003", "3", "2"), ("mona-000003", "6", "3")):
        metadata = read_lora(found[stem]).metadata
        assert (metadata["ss_steps"], metadata["ss_epoch"]) == (steps, epoch)
    report = json.loads((result.path.with_suffix(".json")).read_text())
    assert report["stopped"] is None and report["asked"] == 8
