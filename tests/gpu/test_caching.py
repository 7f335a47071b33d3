"""Encoding on CUDA: an image's latent is that of the CPU's floats, alone and in a batch."""

import numpy as np
import torch

from pack.nodes.host.model import vae as images


def pictures(count):
    """Smooth shapes with some grain, uint8 [count, 128, 192, 3]."""
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[0:128, 0:192]
    waves = np.stack([np.sin((n + 1) * rows / 40 + columns / (n + 9)) for n in range(count)])
    coloured = waves[..., None] * np.array([90, 60, 110]) + 128 + rng.normal(0, 5, (1, 128, 192, 3))
    return coloured.clip(0, 255).astype(np.uint8)


def difference(first, second):
    return float((first - second).norm() / second.norm())


def encode(vae, pixels):
    with torch.inference_mode():
        return images.encode_pixels(vae, pixels)


def test_bytes_from_the_device_give_the_latents_of_floats_from_the_host(tiny):
    pixels = pictures(3)
    with torch.inference_mode():
        floats = tiny.vae.encode(torch.from_numpy(pixels.astype(np.float32) / 255.0)).float().cpu()
    latents = encode(tiny.vae, pixels)
    assert latents.device.type == "cpu" and latents.dtype == torch.float32
    assert difference(latents, floats) < 1e-2


def test_a_batch_gives_the_latents_of_its_pictures(tiny):
    pixels = pictures(7)
    alone = torch.cat([encode(tiny.vae, row[None]) for row in pixels])
    together = encode(tiny.vae, pixels)
    assert all(difference(one, other) < 1e-2 for one, other in zip(together, alone, strict=True))


def test_the_vae_is_as_before(tiny):
    """No weight changes its number, its type or its layout."""
    encode(tiny.vae, pictures(1))  # paging gives small layers the type that is computed in
    state = {key: value.clone() for key, value in tiny.vae.first_stage_model.state_dict().items()}
    encode(tiny.vae, pictures(2))
    for key, value in tiny.vae.first_stage_model.state_dict().items():
        assert torch.equal(value.cpu(), state[key].cpu()) and value.dtype == state[key].dtype
        assert value.stride() == state[key].stride()
