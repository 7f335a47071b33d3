"""Runs: when a result is reused, when not; previews and progress beside the training."""

import dataclasses
import math
import shutil
from types import SimpleNamespace

import comfy.model_base as model_base
import comfy.model_management as mm
import pytest
import torch
from PIL import Image

from pack.nodes.host import folders
from pack.nodes.host.model.fingerprint import fingerprint
from pack.nodes.host.previews.previewer import PreviewConfig
from pack.nodes.host.training import train as training
from pack.nodes.host.training import trainings
from pack.tests.host import scene
from pack.trainer.training import step

PREVIEWS = PreviewConfig(
    ("thing", "another"), every=2, width=64, height=64, steps=2, sampler="euler_ancestral"
)


def train(tiny, cached, recipe=None, *joins, **extra):
    request = scene.request(tiny, cached, recipe, **extra)
    with torch.inference_mode():
        return training.train_lora(request, *joins)


def test_the_same_run_comes_back_from_disk(tiny, cached, load_tiny, tiny_checkpoint):
    first, _ = train(tiny, cached)
    again, _ = train(tiny, cached, scene.config(checkpointing="full"))
    fresh, _ = train(load_tiny(tiny_checkpoint), cached)
    assert (first.trained, again.trained, fresh.trained) == (True, False, False)
    assert again.losses == first.losses
    assert all(torch.equal(again.lora[key], first.lora[key]) for key in first.lora)
    assert again.lora.metadata["ss_steps"] == "4"


@pytest.mark.parametrize(
    "change",
    [
        "model",
        *(
            pytest.param(change, marks=pytest.mark.main_host)
            for change in ("seed", "steps", "rank", "caption", "picture")
        ),
    ],
)
def test_whatever_counts_trains_again(tiny, cached, tmp_path, change):
    first, _ = train(tiny, cached)
    recipe = scene.config(steps=5 if change == "steps" else 4, rank=5 if change == "rank" else 4)
    if change == "seed":
        recipe = dataclasses.replace(recipe, seed=1)
    if change == "caption":
        (tmp_path / "set" / "picture_0.txt").write_text("other words", "utf-8")
    if change == "picture":
        Image.new("RGB", (64, 64), "green").save(tmp_path / "set" / "picture_0.png")
    if change in ("caption", "picture"):
        cached = scene.cache(tiny, tmp_path / "set", tmp_path / "cache")
    if change == "model":
        patched = tiny.model.clone()
        key = "diffusion_model.input_blocks.4.1.proj_in.weight"
        shape = patched.model_state_dict()[key].shape
        patched.add_patches({key: ("diff", (torch.full(shape, 0.01),))}, 1.0)
        tiny = tiny._replace(model=patched)
    second, _ = train(tiny, cached, recipe)
    assert second.trained
    if change != "steps":
        assert second.losses != first.losses


@pytest.mark.main_host
def test_a_run_of_epochs_is_the_run_of_its_steps(tiny, cached):
    """Four images in two buckets: so two steps an epoch."""
    recipe = scene.config(batch_size=1, accumulation=2, epochs=3)
    result, _ = train(tiny, cached, recipe)
    assert (result.trained, len(result.losses)) == (True, 6)
    assert result.lora.metadata["ss_num_epochs"] == "3"
    assert result.lora.metadata["ss_max_train_steps"] == "6"
    recipe = scene.config(steps=6, batch_size=1, accumulation=2)
    assert not train(tiny, cached, recipe)[0].trained


def test_previews_do_not_disturb_training(tiny, cached):
    plain, _ = train(tiny, cached, scene.config(seed=5))
    shutil.rmtree(plain.path.parent)  # forget the run, so that it is done again
    seen, book = train(
        tiny, cached, scene.config(seed=5), clip=tiny.clip, vae=tiny.vae, previews=PREVIEWS
    )
    assert seen.trained
    assert seen.losses == plain.losses
    assert all(torch.equal(seen.lora[key], plain.lora[key]) for key in plain.lora)
    assert [path.name for path in book.paths()] == [
        f"step{step:08}_{prompt}.png" for step in (2, 4) for prompt in (0, 1)
    ]
    assert book.images().shape == (4, 64, 64, 3)
    first, last = book.images()[0], book.images()[2]
    assert (first - last).abs().max() > 0.01  # the live adapters are what is sampled


def test_a_stored_result_brings_its_previews(tiny, cached):
    extra = {"clip": tiny.clip, "vae": tiny.vae, "previews": PREVIEWS}
    train(tiny, cached, **extra)
    result, book = train(tiny, cached, **extra)
    assert not result.trained
    assert len(book.paths()) == 4


@pytest.mark.main_host
def test_progress_texts(tiny, cached, monkeypatch):
    lines = []
    monkeypatch.setattr(trainings, "tell_page", lambda node, text, **more: lines.append(text))
    monkeypatch.setattr(trainings, "BETWEEN", 0.0)
    train(tiny, cached, scene.config(steps=3))
    steps = [line for line in lines if line.startswith("step ")]
    assert [line.split(" · ")[0] for line in steps] == ["step 1/3", "step 2/3", "step 3/3"]
    assert all("loss " in line and "/" in line and "left" in line for line in steps)
    assert steps[-1].endswith("0:00 left")


def test_a_follower_is_told_of_every_step_and_may_end_the_run(tiny, cached):
    lives, steps = [], []

    def on_step(event):
        steps.append((event.step, event.loss))
        return "enough" if event.step == 3 else None

    def join(live):
        lives.append((live.step, len(live.network.parameters()), live.loop.losses))
        return SimpleNamespace(on_step=on_step)

    result, _ = train(tiny, cached, scene.config(steps=5), join)
    ((first, parameters, losses),) = lives
    assert first == 0 and parameters and losses == ()
    assert result.stopped == "enough" and steps == list(enumerate(result.losses, 1))
    assert len(steps) == 3


def test_room_is_asked_of_the_manager_and_given_back(tiny, cached, monkeypatch):
    """Before the first step and again after each preview, whose decode fills the device."""
    asked, given = [], []
    load, empty = mm.load_models_gpu, mm.soft_empty_cache

    def load_models_gpu(models, memory_required=0, **options):
        if models == [tiny.model] and memory_required:
            asked.append(memory_required)
        return load(models, memory_required=memory_required, **options)

    monkeypatch.setattr(mm, "load_models_gpu", load_models_gpu)
    monkeypatch.setattr(mm, "soft_empty_cache", lambda *_: (given.append(1), empty())[1])
    settings = dataclasses.replace(PREVIEWS, sampler="euler")
    train(tiny, cached, clip=tiny.clip, vae=tiny.vae, previews=settings)
    training_calls = [n for n in asked if n == max(asked)]
    assert len(training_calls) == 3  # at the start, after the previews of steps 2 and 4
    assert given


def break_losses(monkeypatch, steps):
    """Make the loss of these batches (from 1) infinite."""
    original, calls = step.per_sample, [0]

    def per_sample(*args, **kwargs):
        calls[0] += 1
        loss = original(*args, **kwargs)
        return loss * math.inf if calls[0] in steps else loss

    monkeypatch.setattr(step, "per_sample", per_sample)


@pytest.mark.main_host
def test_a_non_finite_step_is_skipped(tiny, cached, monkeypatch):
    break_losses(monkeypatch, {2, 3, 5})
    result, _ = train(tiny, cached, scene.config(steps=6))
    assert [math.isfinite(loss) for loss in result.losses] == [
        True,
        False,
        False,
        True,
        False,
        True,
    ]
    assert result.stopped is None
    assert all(value.isfinite().all() for value in result.lora.values())


@pytest.mark.main_host
def test_three_in_a_row_stop_at_the_last_good_state(tiny, cached, monkeypatch):
    good, _ = train(tiny, cached, scene.config(steps=3))
    shutil.rmtree(good.path.parent)
    break_losses(monkeypatch, {4, 5, 6})
    result, _ = train(tiny, cached, scene.config(steps=20))
    assert len(result.losses) == 6
    assert "3 times in a row" in result.stopped
    assert all(torch.equal(result.lora[key], good.lora[key]) for key in good.lora)
    monkeypatch.undo()
    monkeypatch.setattr(folders, "output_root", lambda: result.path.parents[2])
    complete, _ = train(tiny, cached, scene.config(steps=6))
    assert complete.trained and complete.stopped is None  # what was stopped is no result


@pytest.mark.main_host
def test_no_good_step_is_an_error(tiny, cached, monkeypatch):
    break_losses(monkeypatch, set(range(1, 100)))
    with pytest.raises(ValueError, match="not finite"):
        train(tiny, cached, scene.config(steps=20))


def test_the_fingerprint_is_of_contents(tiny, tiny_checkpoint, tiny_v_checkpoint, load_tiny):
    before = fingerprint(tiny.model)
    assert fingerprint(load_tiny(tiny_checkpoint).model) == before
    with torch.inference_mode():
        mm.load_models_gpu([tiny.model])
    assert fingerprint(tiny.model) == before
    patched = tiny.model.clone()
    key = "diffusion_model.input_blocks.4.1.proj_in.weight"
    shape = patched.model_state_dict()[key].shape
    patched.add_patches({key: ("diff", (torch.full(shape, 0.01),))}, 1.0)
    unloaded = fingerprint(patched)
    with torch.inference_mode():
        mm.load_models_gpu([patched])  # the patch now lies in the weights
    assert fingerprint(patched) == unloaded
    assert fingerprint(tiny.model) == before
    others = {before, unloaded, fingerprint(load_tiny(tiny_v_checkpoint).model)}
    stronger = tiny.model.clone()
    stronger.add_patches({key: ("diff", (torch.full(shape, 0.01),))}, 0.5)
    assert len(others | {fingerprint(stronger)}) == 4


def test_the_fingerprint_knows_what_the_model_predicts(tiny, monkeypatch):
    """The same weights with a v_pred marker in their file are another model."""
    before = fingerprint(tiny.model)
    inner = tiny.model.model
    other = model_base.model_sampling(inner.model_config, model_base.ModelType.V_PREDICTION)
    monkeypatch.setattr(inner, "model_sampling", other)
    assert fingerprint(tiny.model) != before


def test_v_prediction_is_read_from_the_model(tiny_v, tmp_path):
    cached = scene.cache(tiny_v, scene.write_pictures(tmp_path / "set"), tmp_path / "cache")
    result, _ = train(tiny_v, cached)
    assert result.lora.metadata["modelspec.prediction_type"] == "v"
    assert result.lora.metadata["ss_zero_terminal_snr"] == "True"
