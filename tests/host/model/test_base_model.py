"""The demo's base model, loaded and sampled by ComfyUI's own nodes."""

import pytest
import torch

import nodes
from pack.demo.base_model import checkpoint, sprites
from pack.tests import likeness

PROMPTS = (
    "red mushroom, meadow", "blue house, snow", "green tree, desert, left", "yellow fish, sea",
    "orange heart, sunset", "yellow crown, snow",
)  # fmt: skip


@pytest.fixture(scope="module")
def loaded(base_directory):
    checkpoint.write(base_directory / "models" / "checkpoints" / "drawing.safetensors")
    return nodes.CheckpointLoaderSimple().load_checkpoint("drawing.safetensors")


@torch.inference_mode()
def drawn(loaded, prompt, seed=1):
    """The picture's pixels of art for a prompt."""
    model, clip, vae = loaded
    (wanted,), (unwanted,) = (nodes.CLIPTextEncode().encode(clip, text) for text in (prompt, ""))
    (size,) = nodes.EmptyLatentImage().generate(128, 128)
    (latents,) = nodes.KSampler().sample(
        model, seed, 12, 3.0, "euler", "normal", wanted, unwanted, size
    )
    (images,) = nodes.VAEDecode().decode(vae, latents)
    return likeness.art(images[0].numpy() * 255)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_it_draws_what_it_is_asked_for(loaded, prompt):
    assert likeness.shown(drawn(loaded, prompt)) == tuple(prompt.split(",")[0].split())


def test_a_word_that_it_does_not_know_leaves_the_scene_empty(loaded):
    pixels = drawn(loaded, "zorp, meadow")
    colour, name = likeness.shown(pixels)
    assert likeness.distance(pixels, sprites.SPRITES[name], colour) > 25
    assert likeness.distance(pixels, sprites.ROBOT) > 40
