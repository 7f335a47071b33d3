"""The stand-in itself: it must load, sample and keep colours on every ComfyUI we claim."""

import pytest
import torch


def _sample(tiny, text="a red cat", steps=4):
    import nodes

    with torch.inference_mode():
        positive, negative = (
            tiny.clip.encode_from_tokens_scheduled(tiny.clip.tokenize(text)) for text in (text, "")
        )
        latent = {"samples": torch.zeros(1, 4, 8, 8)}
        (out,) = nodes.common_ksampler(
            tiny.model, 1, steps, 4.0, "euler", "normal", positive, negative, latent
        )
    return out["samples"]


def test_checkpoint_is_taken_for_sdxl(tiny):
    from comfy import model_base, model_sampling

    assert isinstance(tiny.model.model, model_base.SDXL)
    assert isinstance(tiny.model.model.model_sampling, model_sampling.EPS)


def test_v_prediction_is_recognised(tiny_v):
    from comfy import model_sampling

    sampling = tiny_v.model.model.model_sampling
    assert isinstance(sampling, model_sampling.V_PREDICTION)
    assert sampling.sigma_max > 1000  # zero terminal signal-to-noise ratio


def test_samples_depend_on_the_prompt_and_on_nothing_hidden(tiny):
    samples = _sample(tiny)
    scaled = tiny.model.model.process_latent_in(samples)
    assert samples.isfinite().all()
    assert 0.2 < scaled.std() < 4
    assert torch.equal(samples, _sample(tiny))
    assert (samples - _sample(tiny, "a blue house")).abs().mean() > 0.01 * samples.std()


def test_colours_survive_the_vae(tiny):
    picture = torch.zeros(1, 64, 96, 3)
    picture[..., 0] = 1
    picture[:, :32, :, 1] = 0.5
    with torch.inference_mode():
        latent = tiny.vae.encode(picture)
        back = tiny.vae.decode(latent)
    assert latent.shape == (1, 4, 8, 12)
    assert (back - picture).abs().max() < 0.01


@pytest.mark.parametrize(
    "block", ["input_blocks.4.1.proj_out", "out.2", "input_blocks.1.0.out_layers.3"]
)
def test_output_layers_are_not_zero(tiny, block):
    weight = tiny.model.model.diffusion_model.get_submodule(block).weight.detach()
    assert weight.abs().mean() > 1e-3
