"""The VAE's deviations, with its own mean beside them; afterwards it encodes as before."""

import comfy.sd
import numpy as np
import pytest
import torch
from comfy.ldm.models.autoencoder import AutoencoderKL

from pack.nodes.host.dataset.cache import build_cache
from pack.nodes.host.model import deviations
from pack.nodes.host.model.vae import encode_pixels
from pack.tests.host import scene
from pack.trainer.cache.encoding import KIND, TooLarge
from pack.trainer.config.cache import CacheConfig
from pack.trainer.dataset.scan import scan_folder
from pack.trainer.files.store import Store

pytestmark = pytest.mark.main_host


@pytest.fixture(autouse=True)
def as_in_comfyui():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def vae():
    """A small VAE of the kind that SDXL has (the tiny SDXL's is a TAESD, which has no deviations)."""
    part = {
        "double_z": True, "z_channels": 4, "resolution": 64, "in_channels": 3, "out_ch": 3, "ch": 32,
        "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0,
    }  # fmt: skip
    settings = {"ddconfig": part, "embed_dim": 4}
    torch.manual_seed(0)
    with torch.inference_mode():
        weights = {
            name: 0.1 * torch.randn(value.shape)
            for name, value in AutoencoderKL(**settings).state_dict().items()
        }
        return comfy.sd.VAE(sd=weights, config={"params": settings}, dtype=torch.float32)


def pixels():
    return np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)


def test_they_are_those_of_the_posterior(vae):
    before = encode_pixels(vae, pixels())
    means, spread = deviations.encode(vae, pixels()).split(4, dim=1)
    model = vae.first_stage_model
    shown = torch.from_numpy(pixels()).movedim(-1, 1).float() / 127.5 - 1
    weights = next(model.parameters())
    moments = model.quant_conv(model.encoder(shown.to(weights.device, weights.dtype)))
    log_variance = moments.float().cpu()[:, 4:]
    assert torch.equal(means, before)
    assert torch.allclose(spread**2, log_variance.clamp(-30, 20).exp(), rtol=0.02)
    assert float(spread.min()) > 0
    assert torch.equal(encode_pixels(vae, pixels()), before)
    assert "forward" not in vars(model.regularization)


def test_what_is_too_large_comes_in_tiles_and_leaves_no_trace(vae, monkeypatch):
    whole = deviations.encode(vae, pixels()[:1])

    def no_memory(*_, **__):
        raise torch.cuda.OutOfMemoryError("pretended")

    with monkeypatch.context() as patch:
        patch.setattr(vae.first_stage_model, "encode", no_memory)
        with pytest.raises(TooLarge) as error:
            deviations.encode(vae, pixels()[:1])
    tiles = error.value.in_tiles()
    assert tiles.shape == whole.shape and torch.allclose(tiles, whole, atol=0.05)
    assert "forward" not in vars(vae.first_stage_model.regularization)


def test_the_cache_holds_both_and_a_vae_without_them_is_refused(
    vae, tiny, tmp_path, base_directory
):
    dataset = scan_folder(scene.write_pictures(tmp_path / "set", count=1))
    config = CacheConfig(scene.BUCKETS, fresh_samples=True)
    cached, _ = build_cache(dataset, vae, None, config)
    stored = Store(cached.store_root).load(KIND, cached.items[0].latent_key)
    assert stored["deviation"].shape == stored["latents"].shape
    with pytest.raises(ValueError, match="fresh_samples needs a VAE that gives a mean"):
        build_cache(dataset, tiny.vae, None, config)
