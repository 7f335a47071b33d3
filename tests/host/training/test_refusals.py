"""What cannot be trained is refused in a sentence, before any work."""

import comfy.model_base
import comfy.model_sampling
import pytest
import torch
from comfy_extras import nodes_model_advanced as advanced

from pack.nodes.host.model import unet
from pack.nodes.host.model.clip import check_clip
from pack.nodes.host.model.fingerprint import fingerprint
from pack.nodes.host.previews.previewer import PreviewConfig
from pack.nodes.host.training import train
from pack.tests.host import scene
from pack.trainer.config.loss import LossConfig


def with_sampling(model, kind):
    """The MODEL behind ComfyUI's ModelSamplingDiscrete or ContinuousEDM node."""
    if kind == "edm":
        return advanced.ModelSamplingContinuousEDM().patch(model, "edm", 80.0, 0.002)[0]
    return advanced.ModelSamplingDiscrete().patch(model, kind, False)[0]


@pytest.mark.parametrize("kind", ["lcm", "x0", "edm"])
def test_sampling_that_is_neither_eps_nor_v(tiny, kind):
    with pytest.raises(ValueError, match="sampling"):
        unet.check_trainable(with_sampling(tiny.model, kind))


def test_eps_and_v_by_a_node(tiny):
    for kind, prediction in (("eps", "epsilon"), ("v_prediction", "v")):
        model = with_sampling(tiny.model, kind)
        unet.check_trainable(model)
        assert unet.prediction(model) == prediction


def with_flow(model, shift=2.5):
    return advanced.ModelSamplingSD3().patch(model, shift)[0]


def test_flow_by_a_node(tiny):
    model = with_flow(tiny.model)
    unet.check_trainable(model)
    assert unet.prediction(model) == "flow"
    sampling = model.get_model_object("model_sampling")
    own, shifted = (unet.schedule(model, LossConfig(discrete_flow_shift=s)) for s in (0.0, 1.0))
    assert own.flow_sigmas.tolist() == pytest.approx(sampling.sigmas.tolist())
    rng = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(4, 4, 8, 8, generator=rng) for _ in range(2))
    steps = torch.tensor([0, 300, 700, 999])
    for schedule in (own, shifted):  # what ComfyUI makes of the target is the latents
        sigma = schedule.flow_sigmas[steps]
        noisy = schedule.noisy(latents, noise, steps)
        assert torch.allclose(noisy, sampling.noise_scaling(sigma, noise, latents), atol=1e-6)
        target = schedule.target(latents, noise, steps)
        assert torch.allclose(sampling.calculate_denoised(sigma, target, noisy), latents, atol=2e-6)
        assert torch.equal(schedule.told(steps), sampling.timestep(sigma))
    assert len({fingerprint(m) for m in (tiny.model, model, with_flow(tiny.model, 3.0))}) == 3
    auraflow = advanced.ModelSamplingAuraFlow().patch_aura(tiny.model, 2.5)[0]
    assert unet.prediction(auraflow) == "flow"
    assert fingerprint(auraflow) != fingerprint(model)  # told other numbers at the same sigmas


def change_class(monkeypatch, model, cls):
    monkeypatch.setattr(model.model, "__class__", cls)


@pytest.mark.parametrize(
    ("cls", "words"),
    [(comfy.model_base.SDXLRefiner, "refiner"), (comfy.model_base.BaseModel, "only SDXL")],
)
def test_other_models(tiny, monkeypatch, cls, words):
    change_class(monkeypatch, tiny.model, cls)
    with pytest.raises(ValueError, match=words):
        unet.check_trainable(tiny.model)


def test_inpainting(tiny, monkeypatch):
    monkeypatch.setattr(tiny.model.model.diffusion_model, "in_channels", 9)
    with pytest.raises(ValueError, match="9 latent channels"):
        unet.check_trainable(tiny.model)


def test_layers_of_another_loader(tiny, monkeypatch):
    layer = tiny.model.model.diffusion_model.input_blocks[4][1].proj_in
    foreign = type("Linear", (type(layer),), {"__module__": "some_gguf_pack.ops"})
    monkeypatch.setattr(layer, "__class__", foreign)
    with pytest.raises(ValueError, match="some_gguf_pack"):
        unet.check_trainable(tiny.model)


def test_bypass_injections(tiny):
    model = tiny.model.clone()
    model.set_injections("bypass_lora", [object()])
    with pytest.raises(ValueError, match="bypass"):
        unet.check_trainable(model)


def test_patches_are_named(tiny):
    model = tiny.model.clone()
    assert unet.notes(model) == []
    key = "diffusion_model.input_blocks.4.1.proj_in.weight"
    shape = model.model_state_dict()[key].shape
    model.add_patches({key: ("diff", (torch.zeros(shape),))}, 1.0)
    model.set_model_attn1_patch(lambda *args: args)
    trained_on, not_through = unet.notes(model)
    assert "on top" in trained_on
    assert "not trained through" in not_through


def test_a_clip_of_another_family(tiny):
    check_clip(tiny.clip)
    lone = type("Clip", (), {"cond_stage_model": torch.nn.Linear(1, 1)})()
    with pytest.raises(ValueError, match="SDXL's pair"):
        check_clip(lone)


def check(tiny, cached, recipe=None, **extra):
    scene.request(tiny, cached, recipe, **extra).check()


def test_what_previews_need(tiny, cached):
    previews = PreviewConfig(("thing",), width=64, height=64)
    with pytest.raises(ValueError, match="CLIP and VAE"):
        check(tiny, cached, previews=previews)
    with pytest.raises(ValueError, match="need VAE"):
        check(tiny, cached, previews=previews, clip=tiny.clip)
    check(tiny, cached, previews=previews, clip=tiny.clip, vae=tiny.vae)


def test_captions_without_clip(tiny, cached):
    import dataclasses

    bare = dataclasses.replace(cached, text_fingerprint=None)
    with pytest.raises(ValueError, match="connect CLIP"):
        check(tiny, bare)
    check(tiny, bare, clip=tiny.clip)


def test_weightings_of_the_other_prediction(tiny, cached):
    with pytest.raises(ValueError, match="scale_v_pred"):
        check(tiny, cached, scene.config(loss=LossConfig(scale_v_pred=True)))


def test_a_cleared_cache_is_said_before_the_first_step(tiny, cached, tmp_path, monkeypatch):
    for path in (tmp_path / "cache").rglob("*.safetensors"):
        path.unlink()
    monkeypatch.setattr(train, "train_live", None)
    with torch.inference_mode(), pytest.raises(ValueError, match="The cache is missing 4"):
        train.train_lora(scene.request(tiny, cached, scene.config(seed=99)))


def test_a_cleared_cache_is_filled_again(tiny, cached, tmp_path):
    for path in (tmp_path / "cache").rglob("*.safetensors"):
        path.unlink()
    with torch.inference_mode():
        result, _ = train.train_lora(
            scene.request(tiny, cached, scene.config(seed=98), clip=tiny.clip, vae=tiny.vae)
        )
    assert result.trained


def test_previews_settings_report_everything():
    with pytest.raises(ValueError, match=r"every is -1.*size is 20 x 8.*no sampler") as caught:
        PreviewConfig(every=-1, width=20, height=8, sampler="nothing")
    assert str(caught.value).startswith("Preview settings: ")
