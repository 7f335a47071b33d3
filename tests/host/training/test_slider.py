"""Train Slider: what it learns, what it leaves behind, how it goes on, what it refuses."""

import comfy.model_management as mm
import pytest
import torch
from comfy_extras import nodes_model_advanced as advanced

from pack.demo import tiny_sdxl
from pack.demo.base_model import checkpoint
from pack.nodes.host import slider
from pack.nodes.host.lora.apply import apply_lora
from pack.nodes.host.previews.previewer import PreviewConfig
from pack.nodes.host.training import train as training
from pack.tests.host import scene
from pack.tests.host.lora.test_tools import run
from pack.tests.host.model.test_base_model import drawn
from pack.tests.host.training.test_restore import ERRORS, fail_in_backward, fail_in_forward
from pack.tests.host.training.test_resume import cancel_after, same
from pack.tests.host.training.test_text_runs import assert_untouched, snapshot
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.optimiser import OptimiserConfig

pytestmark = [pytest.mark.main_host, pytest.mark.slow]

INPUTS = {
    "target": "thing", "positive": "red\nthing", "negative": "(blue:1.2) thing", "guidance": 4.0, "steps": 3,
    "rank": 2, "learning_rate": 1e-3, "resolution": 64, "batch_size": 2, "seed": 3, "sampling_steps": 2,
}  # fmt: skip


def train(tiny, *joins, **changes):
    with torch.inference_mode():
        request = slider.slider_request(tiny.model, tiny.clip, None, {**INPUTS, **changes})
        return training.train_lora(request, *joins)


def test_strengths_move_what_is_drawn(base_directory):
    """A purple heart becomes red and blue, by more than seeds differ, and nothing of MODEL and CLIP remains."""
    checkpoint.register()
    path = checkpoint.write(base_directory / "models" / "checkpoints" / "drawing.safetensors")
    loaded = tiny_sdxl.load(path)
    states = snapshot(loaded.clip), scene.snapshot(loaded.model)
    with torch.inference_mode():
        lora, *_ = run(
            "TrainSlider", model=loaded.model, clip=loaded.clip, target="purple heart, meadow",
            positive="red heart, meadow", negative="blue heart, meadow", guidance=4.0, resolution=128,
            steps=16, learning_rate=3e-3, sampling_steps=3,
        )  # fmt: skip
    assert (snapshot(loaded.clip), scene.snapshot(loaded.model)) == states
    seen = {}
    for strength in (-1.0, 0.0, 1.0):
        model, _ = apply_lora(loaded.model, None, lora, strength)
        parts = model, loaded.clip, loaded.vae
        art = [drawn(parts, "purple heart, meadow", seed) for seed in (1, 2)]
        seen[strength] = [float((pixels[..., 0] - pixels[..., 2]).mean()) for pixels in art]
    mm.unload_all_models()
    assert max(seen[-1.0]) < min(seen[0.0]) and max(seen[0.0]) < min(seen[1.0]), seen
    means = {strength: sum(values) / 2 for strength, values in seen.items()}
    spread = max(max(values) - min(values) for values in seen.values())
    assert min(means[0.0] - means[-1.0], means[1.0] - means[0.0]) > spread, seen


@pytest.mark.parametrize("fail", [fail_in_forward, fail_in_backward])
def test_a_failure_leaves_nothing_behind(tiny, monkeypatch, fail):
    error = ERRORS["interrupt"]

    def act():
        with monkeypatch.context() as patch, pytest.raises(type(error)):
            fail(patch, error)
            train(tiny)

    assert_untouched(tiny, act)


def test_it_goes_on_to_the_bit_and_is_found_again(tiny, elsewhere):
    with pytest.raises(mm.InterruptProcessingException):
        train(tiny, cancel_after(1))
    continued, _ = train(tiny)
    again, _ = train(tiny)
    assert continued.trained and not again.trained and same(continued, again)
    other, _ = train(tiny, steps=1, negative="blue thing")
    assert other.trained and other.losses[0] != continued.losses[0]
    elsewhere()
    assert same(train(tiny)[0], continued)


def test_an_interrupt_within_a_step_is_obeyed_there(tiny, monkeypatch):
    """A step is many predictions long: the one after the button was pressed is not made."""
    original, calls = torch.nn.SiLU.forward, [0]

    def forward(self, x):
        calls[0] += 1
        if calls[0] == 1:
            mm.interrupt_current_processing(True)
        return original(self, x)

    with monkeypatch.context() as patch, pytest.raises(mm.InterruptProcessingException):
        patch.setattr(torch.nn.SiLU, "forward", forward)
        train(tiny)
    of_one = sum(isinstance(m, torch.nn.SiLU) for m in tiny.model.model.diffusion_model.modules())
    assert calls[0] <= of_one


def test_plans_of_memory_and_settings_nodes(tiny, elsewhere, monkeypatch):
    plain, _ = train(tiny, steps=2)
    config = slider.TrainConfig

    def compact(**values):
        return config(compact=True, checkpointing="full", **values)

    elsewhere()
    with monkeypatch.context() as patch:
        patch.setattr(slider, "TrainConfig", compact)
        other, _ = train(tiny, steps=2)
    assert other.losses == pytest.approx(plain.losses, rel=1e-5)
    previews = PreviewConfig(
        ("thing",), every=1, width=64, height=64, steps=1, strengths=(-1.0, 1.0)
    )
    settings, optimiser = LoraConfig(rank=3, alpha=1.0, dora=True), OptimiserConfig(type="Lion")
    third, book = train(
        tiny, steps=1, lora_settings=settings, optimiser_settings=optimiser, vae=tiny.vae,
        preview_settings=previews,
    )  # fmt: skip
    assert {value.shape[0] for key, value in third.lora.items() if "lora_down" in key} == {3}
    assert len(book.paths()) == 2
    assert third.lora.metadata["ss_num_train_images"] == "0"
    assert '"positive": "red thing"' in third.lora.metadata["lora_loop.config"]


def test_velocities_and_flow(tiny, tiny_v):
    flow = tiny._replace(model=advanced.ModelSamplingSD3().patch(tiny.model, 2.5)[0])
    for loaded in (tiny_v, flow):
        result, _ = train(loaded, steps=1)
        assert result.losses[0] > 0


def test_what_cannot_be_is_refused_before_any_work(tiny):
    for changes, words in (
        ({"positive": " ", "negative": "\n"}, "positive and negative are both empty"),
        ({"negative": "red  thing"}, "positive and negative are the same"),
        ({"preview_settings": PreviewConfig(("thing",))}, "Previews need VAE"),
        ({"optimiser_settings": OptimiserConfig(text_encoder_1_rate=1e-4)}, "UNet alone"),
    ):
        with pytest.raises(ValueError, match=words):
            train(tiny, **changes)
    no_image = advanced.ModelSamplingDiscrete().patch(tiny.model, "eps", True)[0]
    with pytest.raises(ValueError, match="ends in noise alone"):
        train(tiny._replace(model=no_image))
