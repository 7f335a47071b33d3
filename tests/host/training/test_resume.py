"""A training inside ComfyUI that was ended early goes on as if it had not been."""

import dataclasses
import json
from contextlib import contextmanager
from types import SimpleNamespace

import comfy.model_management as mm
import pytest
import torch

from pack.nodes.host import folders
from pack.nodes.host.previews.previewer import PreviewConfig, Previewer
from pack.nodes.host.training import train as training
from pack.tests.host import scene
from pack.trainer.config.captions import CaptionConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.files import lock
from pack.trainer.network.adapters import Lora
from pack.trainer.runs import state_keeper
from pack.trainer.runs.state_files import StateFiles

pytestmark = [pytest.mark.main_host, pytest.mark.slow]

PREVIEWS = PreviewConfig(("thing",), every=2, width=64, height=64, steps=1)


def train(tiny, cached, recipe, *joins, **extra):
    with torch.inference_mode():
        return training.train_lora(scene.request(tiny, cached, recipe, **extra), *joins)


def same(one, other):
    assert one.losses == other.losses
    assert all(torch.equal(one.lora[key], other.lora[key]) for key in one.lora)
    return True


def cancel_after(step):
    """The user's red X while this step is the last one done."""

    def on_step(event):
        if event.step == step:
            mm.interrupt_current_processing(True)

    return scene.told(on_step)


CAPTIONS = CaptionConfig(shuffle=True, tag_dropout=0.2)
RECIPES = {
    "plain": scene.config(steps=6),
    "shuffled captions": scene.config(steps=6, captions=CAPTIONS),
    "schedule-free": dataclasses.replace(
        scene.config(steps=6),
        optimiser=OptimiserConfig(type="AdamWScheduleFree", learning_rate=1e-2),
    ),
}


@pytest.mark.parametrize("kind", RECIPES)
def test_queue_goes_on_after_a_cancel(tiny, cached, elsewhere, kind, caplog):
    recipe, extra = RECIPES[kind], {"clip": tiny.clip, "vae": tiny.vae, "previews": PREVIEWS}
    before = scene.snapshot(tiny.model)
    with pytest.raises(mm.InterruptProcessingException):
        train(tiny, cached, recipe, cancel_after(3), **extra)
    assert scene.snapshot(tiny.model) == before
    caplog.set_level("INFO")
    result, book = train(tiny, cached, recipe, **extra)
    assert "goes on after step 3" in caplog.text
    assert [path.name for path in book.paths()] == [f"step{s:08}_0.png" for s in (2, 4, 6)]
    assert result.lora.metadata["ss_steps"] == "6"
    pictures = book.images()
    elsewhere()
    whole, whole_book = train(tiny, cached, recipe, **extra)
    assert same(result, whole) and torch.equal(pictures, whole_book.images())


def test_a_preview_that_was_cancelled_is_made_up_for(tiny, cached, monkeypatch, elsewhere):
    recipe = scene.config(steps=4)
    extra = {"clip": tiny.clip, "vae": tiny.vae, "previews": PREVIEWS}

    def cancelled(self, at_strength):
        raise mm.InterruptProcessingException

    with monkeypatch.context() as patch, pytest.raises(mm.InterruptProcessingException):
        patch.setattr(Previewer, "sample", cancelled)
        train(tiny, cached, recipe, **extra)
    result, book = train(tiny, cached, recipe, **extra)
    assert [path.name for path in book.paths()] == ["step00000002_0.png", "step00000004_0.png"]
    pictures = book.images()
    elsewhere()
    whole, whole_book = train(tiny, cached, recipe, **extra)
    assert same(result, whole) and torch.equal(pictures, whole_book.images())


def test_nothing_is_lost_when_memory_runs_out(tiny, cached, monkeypatch, elsewhere):
    forward, calls = Lora.forward, [0]

    def run_out(self, x):
        calls[0] += 1
        if calls[0] >= 1000:
            raise mm.OOM_EXCEPTION("out of memory")
        return forward(self, x)

    recipe = scene.config(steps=8)
    with monkeypatch.context() as patch, pytest.raises(mm.OOM_EXCEPTION):
        patch.setattr(Lora, "forward", run_out)
        train(tiny, cached, recipe)
    (state,) = (folders.runs_root()).glob("*/state-*")
    assert 0 < int(state.name.split("-")[1]) < 8
    result, _ = train(tiny, cached, recipe)
    elsewhere()
    assert same(result, train(tiny, cached, recipe)[0])


def test_more_steps_go_on_and_fewer_do_not(tiny, cached, elsewhere):
    begun = []

    def join(live):
        begun.append(live.step)
        return SimpleNamespace(on_step=lambda event: None)

    train(tiny, cached, scene.config(steps=3), join)
    longer, _ = train(tiny, cached, scene.config(steps=5), join)
    shorter, _ = train(tiny, cached, scene.config(steps=2), join)
    assert begun == [0, 3, 0]
    elsewhere()
    assert same(longer, train(tiny, cached, scene.config(steps=5))[0])
    assert same(shorter, train(tiny, cached, scene.config(steps=2))[0])


def test_steps_that_the_schedule_depends_on_make_another_run(tiny, cached):
    cosine = OptimiserConfig(learning_rate=1e-2, schedule="cosine")
    recipes = [dataclasses.replace(scene.config(steps=steps), optimiser=cosine) for steps in (3, 5)]
    first, second = (train(tiny, cached, recipe)[0] for recipe in recipes)
    assert first.path.parent != second.path.parent


def test_states_are_saved_on_the_way_and_two_are_kept(tiny, cached, monkeypatch):
    saved = []
    save = StateFiles.save
    monkeypatch.setattr(
        StateFiles, "save", lambda self, state: (saved.append(state.step), save(self, state))[1]
    )
    monkeypatch.setattr(state_keeper, "STATE_STEPS", 2)
    result, _ = train(tiny, cached, scene.config(steps=7))
    assert saved == [2, 4, 6, 7]
    assert len(list(result.path.parent.glob("state-*"))) == 2
    monkeypatch.setattr(state_keeper, "STATE_SECONDS", 0.0)
    saved.clear()
    train(tiny, cached, scene.config(steps=3, seed=9))
    assert saved == [1, 2, 3]


def test_a_full_disk_does_not_end_the_training(tiny, cached, monkeypatch, caplog):
    def full(self, state):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StateFiles, "save", full)
    result, _ = train(tiny, cached, scene.config(steps=3))
    assert result.trained and "could not be saved: [Errno 28] No space left" in caplog.text


def test_a_run_that_another_process_does_is_refused(tiny, cached, monkeypatch):
    opened = training.RunFolder.open

    @contextmanager
    def busy(self, config, model):
        with lock.folder_lock(self.path):
            holder = {"host": "elsewhere", "pid": 1, "since": "2026-01-01 10:00"}
            (self.path / lock.NAME).write_text(json.dumps(holder))
            with opened(self, config, model):
                yield

    monkeypatch.setattr(training.RunFolder, "open", busy)
    with pytest.raises(ValueError, match=r"process 1 on elsewhere.*is training this very run"):
        train(tiny, cached, scene.config())
