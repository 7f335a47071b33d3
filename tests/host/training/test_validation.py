"""Validation inside ComfyUI: held-out images, best and last, a run that stops, what Train gives out."""

import dataclasses
from types import SimpleNamespace

import comfy.model_management as mm
import pytest
import torch

from pack.nodes.host import folders
from pack.nodes.host.model.unet import predict
from pack.nodes.host.training import train as training
from pack.tests.host import scene
from pack.trainer.batches.plan import BatchItem
from pack.trainer.config.captions import CaptionConfig
from pack.trainer.config.validation import ValidationConfig
from pack.trainer.validation.measure import Validation
from pack.trainer.validation.split import split

pytestmark = [pytest.mark.main_host, pytest.mark.slow]

HELD_OUT = ValidationConfig(2, every=2, timesteps=4, keep_best=True)


@pytest.fixture
def cached(tiny, tmp_path):
    return scene.cache(tiny, scene.write_pictures(tmp_path / "set", count=6), tmp_path / "cache")


def train(tiny, cached, recipe, *joins, **extra):
    with torch.inference_mode():
        return training.train_lora(scene.request(tiny, cached, recipe, **extra), *joins)[0]


def config(steps=6, validation=HELD_OUT, **extra):
    return scene.config(steps=steps, validation=validation, **extra)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def scripted(monkeypatch, differences):
    """Every second step's validation comes to the next of these differences."""
    values = iter([0.0, *differences])

    def losses(self, model, before_batch):
        value = next(values)
        return [5.0 + value, 7.0 + value]

    monkeypatch.setattr(Validation, "losses", losses)


def test_it_measures_the_unet_with_the_adapters_on(tiny, cached, monkeypatch):
    seen = []
    original = Validation.losses

    def watch(self, model, before_batch):
        seen.append((original(self, model, before_batch), reference(self, model)))
        return seen[-1][0]

    def reference(validation, model):
        """The same by hand: ComfyUI's UNet, its own sigmas, the stored latents."""
        unet, found = tiny.model.model.diffusion_model, []
        for index, _ in enumerate(validation._items):
            batch = validation._data.load([BatchItem(index, 0, False)])
            for part in range(4):
                draws = validation._draws(index, batch.latents, part, 1000)
                sigma = tiny.model.get_model_object("model_sampling").sigmas[draws.timesteps]
                noisy = (batch.latents + sigma * draws.noise) / (sigma**2 + 1) ** 0.5
                with torch.no_grad():
                    answer = predict(
                        unet, noisy.to(model.dtype), draws.timesteps.float(),
                        batch.context.to(model.dtype), batch.y.to(model.dtype),
                    )  # fmt: skip
                found.append(float(((answer.float() - draws.noise) ** 2).mean()))
        return found

    monkeypatch.setattr(Validation, "losses", watch)
    result = train(tiny, cached, config())
    assert len(seen) == 4
    for measured, by_hand in seen:
        assert measured == pytest.approx(by_hand, rel=1e-3)
    start, *later = [by_hand for _, by_hand in seen]
    for one, by_hand in zip(result.validations, later, strict=True):
        pairs = [new - old for old, new in zip(start, by_hand, strict=True)]
        assert one.difference == pytest.approx(sum(pairs) / len(pairs), rel=0.05)


def test_best_and_last_come_out_and_come_back(tiny, cached, monkeypatch):
    before = scene.snapshot(tiny.model)
    scripted(monkeypatch, [-1.0, -3.0, -2.0])
    result = train(tiny, cached, config())
    assert scene.snapshot(tiny.model) == before
    assert (result.best.metadata["ss_steps"], result.lora.metadata["ss_steps"]) == ("4", "6")
    scripted(monkeypatch, [])
    again = train(tiny, cached, config())
    assert not again.trained and equal(again.best, result.best) and equal(again.lora, result.lora)
    assert "best validation at step 4: -3.00000" in again.summary()
    shorter = train(tiny, cached, dataclasses.replace(config(steps=4), validation=NEVER))
    assert equal(shorter.lora, result.best)


NEVER = dataclasses.replace(HELD_OUT, every=0, keep_best=False)


def test_patience_ends_the_run(tiny, cached, monkeypatch):
    impatient = dataclasses.replace(HELD_OUT, patience=2)
    scripted(monkeypatch, [-2.0, -1.0, -1.5, -9.0])
    result = train(tiny, cached, config(8, impatient))
    assert len(result.losses) == 6 and result.best.metadata["ss_steps"] == "2"
    assert "stopped after step 6 of 8: 2 validations in a row" in result.summary()
    scripted(monkeypatch, [])
    again = train(tiny, cached, config(8, impatient))
    assert not again.trained and again.stopped == result.stopped


@pytest.mark.parametrize("captions", [CaptionConfig(), CaptionConfig(shuffle=True, dropout=0.3)])
def test_validating_changes_no_number(tiny, cached, captions):
    extra = {"clip": tiny.clip}
    seen = train(tiny, cached, config(captions=captions), **extra)
    path = seen.path
    path.unlink()
    for state in path.parent.glob("state-*"):
        state.unlink()
    plain = train(tiny, cached, config(captions=captions, validation=NEVER), **extra)
    assert plain.trained and plain.path == path and plain.validations == ()
    assert plain.losses == seen.losses and equal(plain.lora, seen.lora)
    whole = train(tiny, cached, scene.config(steps=6, captions=captions), **extra)
    assert whole.path.parent != path.parent and whole.losses != seen.losses


def test_held_out_captions_are_encoded_as_they_stand(tiny, cached):
    captions = CaptionConfig(shuffle=True, dropout=1.0, prefix="new")
    result = train(tiny, cached, config(captions=captions), clip=tiny.clip)
    assert len(result.validations) == 3


def test_cancelled_while_validating_goes_on_alike(tiny, cached, monkeypatch, tmp_path):
    original, loops = Validation.losses, []

    def join(live):
        loops.append(live.loop)
        return SimpleNamespace(on_step=lambda event: None)

    def cancel(self, model, before_batch):
        if loops and len(loops[-1].losses) == 4:  # the start is measured before
            mm.interrupt_current_processing(True)
        return original(self, model, before_batch)

    before = scene.snapshot(tiny.model)
    with monkeypatch.context() as patch, pytest.raises(mm.InterruptProcessingException):
        patch.setattr(Validation, "losses", cancel)
        train(tiny, cached, config(), join)
    assert scene.snapshot(tiny.model) == before
    result = train(tiny, cached, config())
    (table,) = result.path.parent.glob("steps.csv")
    assert [line.split(",")[0] for line in table.read_text().splitlines()[1:]] == list("123456")
    monkeypatch.setattr(folders, "output_root", lambda: tmp_path / "elsewhere")
    whole = train(tiny, cached, config())
    assert result.validations == whole.validations and equal(result.best, whole.best)
    assert result.losses == whole.losses and equal(result.lora, whole.lora)


def test_too_many_held_out_is_told_before_any_work(tiny, cached):
    with pytest.raises(ValueError, match="6 images are to be held out and there are 6"):
        train(tiny, cached, config(validation=ValidationConfig(6)))


def test_the_metadata_is_that_of_what_was_trained_on(tiny, cached):
    result = train(tiny, cached, config())
    assert result.lora.metadata["ss_num_train_images"] == "4"
    assert len(split(cached, config()).training.items) == 4


def test_text_encoders_that_are_trained_encode_the_held_out_captions(tiny, cached):
    recipe = config(2)
    trained = dataclasses.replace(recipe.optimiser, text_encoder_1_rate=1e-2)
    result = train(tiny, cached, dataclasses.replace(recipe, optimiser=trained), clip=tiny.clip)
    plain = train(tiny, cached, recipe)
    assert [one.step for one in result.validations] == [2]
    assert result.validations != plain.validations
