"""A ComfyUI that never moves models off the card (--highvram, --gpu-only): the plan knows it."""

import logging

import comfy.cli_args
import comfy.model_management as mm
import pytest
import torch

from pack.nodes.host.model import frozen_weights, memory
from pack.tests.host.card.pretended import comfyui_on_a_card, small_sdxl
from pack.tests.host.card.rehearsal import Rehearsal, watched
from pack.trainer.config.speed import SpeedConfig

STREAMED, CODES = SpeedConfig(stream_weights=True), SpeedConfig(frozen_weights="int8")


@pytest.fixture(scope="module", params=["--highvram", "--gpu-only"])
def staying(request, tiny_checkpoint, card_parts):
    """(model, clip, vae) of a ComfyUI that keeps all models on the card, or only UNets; its memory and
    what is asked of it."""
    with (
        pytest.MonkeyPatch.context() as patch,
        comfyui_on_a_card("HIGH_VRAM") as pretended,
        watched() as card,
    ):
        patch.setattr(comfy.cli_args.args, "gpu_only", request.param == "--gpu-only")
        parts = small_sdxl(tiny_checkpoint)
        pretended.patchers += [parts.vae.patcher, parts.clip.patcher, parts.model]
        yield parts, pretended, card
        mm.unload_all_models()


@torch.inference_mode()
def test_what_is_available_is_there_once_room_is_made(staying):
    """Also beside models that are on the card though ComfyUI's books do not have them any more."""
    parts, pretended, _ = staying

    def check():
        available = memory.available_beside([parts.model])
        memory.make_room([parts.model], 2**40)
        assert available == int(pretended.free() - mm.extra_reserved_memory())

    check()
    mm.load_models_gpu(pretended.patchers)
    check()
    mm.load_models_gpu(pretended.patchers)
    mm.unload_all_models()
    check()


@pytest.mark.parametrize("speed", [STREAMED, CODES], ids=["streamed", "int8"])
@torch.inference_mode()
def test_weights_that_stay_are_not_spared(staying, speed):
    parts, *_ = staying
    memory.make_room([parts.model], 0, first_leaves=True)
    assert parts.model.loaded_size() == parts.model.model_size()
    beside = frozen_weights.spared_bytes(parts.model, speed)
    assert -parts.model.model_size() < beside < 0
    assert "--highvram" in frozen_weights.notes(parts.model, speed)[0]
    assert frozen_weights.notes(parts.model, SpeedConfig()) == []


def test_a_training_where_models_stay(staying, card_parts, monkeypatch, caplog):
    parts, _, card = staying
    rehearsal = Rehearsal(parts, card_parts[1], card, monkeypatch)
    with caplog.at_level(logging.WARNING):
        rehearsal.train(steps=1, speed=STREAMED)
    rehearsal.check()
    assert "start ComfyUI without" in caplog.text
