"""Runs on MODELs that share their weights: none is taken for another, whatever was trained or loaded before."""

import comfy.model_management as mm
import pytest
import torch
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete

from pack.nodes.host.model import clip as text
from pack.nodes.host.training import train as training
from pack.tests.host import scene

RECIPE = scene.config(steps=2)


def v_prediction(model):
    return ModelSamplingDiscrete().patch(model, "v_prediction", True)[0]


def bfloat16(model):
    model = model.clone()
    model.set_model_compute_dtype(torch.bfloat16)
    return model


def train(tiny, cached, model=None, recipe=RECIPE, *joins, **extra):
    request = scene.request(tiny._replace(model=model or tiny.model), cached, recipe, **extra)
    with torch.inference_mode():
        return training.train_lora(request, *joins)[0]


@pytest.mark.parametrize("change", [v_prediction, bfloat16])
def test_two_models_of_one_file_are_two_runs(tiny, cached, change, tiny_checkpoint, load_tiny):
    other = train(tiny, cached, change(tiny.model))
    plain = train(tiny, cached)
    assert other.trained and plain.trained and plain.path.parent != other.path.parent
    assert plain.losses != other.losses
    again = [train(tiny, cached, model) for model in (change(tiny.model), None)]
    assert [result.trained for result in again] == [False, False]
    assert [result.losses for result in again] == [other.losses, plain.losses]

    mm.unload_all_models()  # as after a restart
    fresh = load_tiny(tiny_checkpoint)
    again = [train(fresh, cached, model) for model in (fresh.model, change(fresh.model))]
    assert [result.trained for result in again] == [False, False]
    assert [result.losses for result in again] == [plain.losses, other.losses]


@pytest.mark.parametrize("between", [False, True])
def test_an_interrupted_run_on_a_changed_model_goes_on(tiny, cached, caplog, elsewhere, between):
    """``between``: the plain MODEL is trained in between, else the changed one is still loaded."""
    caplog.set_level("INFO")
    recipe = scene.config(steps=4)

    def cancel(event):
        if event.step == 2:
            mm.interrupt_current_processing(True)

    with pytest.raises(mm.InterruptProcessingException):
        train(tiny, cached, v_prediction(tiny.model), recipe, scene.told(cancel))
    if between:
        train(tiny, cached)
    result = train(tiny, cached, v_prediction(tiny.model), recipe)
    assert "goes on after step 2" in caplog.text
    elsewhere()
    whole = train(tiny, cached, v_prediction(tiny.model), recipe)
    assert whole.losses == result.losses
    assert all(torch.equal(whole.lora[key], result.lora[key]) for key in whole.lora)


def test_adapters_go_onto_the_model_asked_for_while_another_is_loaded(tiny, cached, elsewhere):
    expected = train(tiny, cached)
    elsewhere()
    other = tiny.model.clone()
    other.add_object_patch("diffusion_model.middle_block", torch.nn.Identity())
    with torch.inference_mode():
        mm.load_models_gpu([other])
    result = train(tiny, cached)
    assert result.trained and result.losses == expected.losses
    assert result.lora.keys() == expected.lora.keys()


def test_encodings_by_hooks_are_not_those_of_the_plain_clip(tiny, cached):
    from pack.tests.host.model.test_told_apart import hooked

    changed = hooked(tiny.clip)
    first = train(tiny, cached, clip=changed)
    plain = train(tiny, cached, clip=tiny.clip)
    assert first.trained and plain.trained and first.losses != plain.losses
    assert text.clip_fingerprint(tiny.clip) == cached.text_fingerprint
