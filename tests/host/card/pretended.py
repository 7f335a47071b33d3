"""ComfyUI on a card made of shapes (bench/counted/card.py), undone when it is left."""

from contextlib import contextmanager

import comfy.ldm.modules.attention as attention
import comfy.model_management as mm
import comfy.model_patcher
import pytest
import torch
import torch.nn.functional as F

from pack.bench.counted.card import CARD
from pack.demo import tiny_sdxl

GIB = 2**30
SMALL = tiny_sdxl.UNET_CONFIG | {
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 2],
    "transformer_depth": [0, 0],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [0, 0, 0, 1],
}
"""A UNet of every kind of layer, no larger than that takes."""
NEVER = ("supports_fp8_compute", "supports_nvfp4_compute", "supports_mxfp8_compute")


class Pretended:
    """The card's memory: ``vram`` bytes, of which the weights of ``patchers`` take what lies there."""

    def __init__(self, vram=8 * GIB):
        self.vram, self.patchers = vram, []

    def free(self):
        weights = {
            id(weight): weight.nbytes
            for patcher in self.patchers
            for weight in patcher.model.state_dict(keep_vars=True).values()
            if weight.device == CARD
        }
        return self.vram - sum(weights.values())


@contextmanager
def comfyui_on_a_card(state="NORMAL_VRAM"):
    """ComfyUI's device is a card, on which it computes in float16."""
    pretended = Pretended()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mm, "cpu_state", mm.CPUState.GPU)
        patch.setattr(mm, "vram_state", mm.VRAMState[state])
        patch.setattr(mm, "lowvram_available", True)
        patch.setattr(mm, "get_torch_device", lambda: CARD)
        patch.setattr(mm, "get_all_torch_devices", lambda: [CARD], raising=False)
        patch.setattr(mm, "unet_inital_load_device", lambda *_, **__: torch.device("cpu"))
        patch.setattr(mm, "soft_empty_cache", lambda *_, **__: None)
        patch.setattr(mm, "should_use_fp16", lambda *_, **__: True)
        patch.setattr(mm, "should_use_bf16", lambda *_, **__: False)
        for name in NEVER:
            patch.setattr(mm, name, lambda *_, **__: False, raising=False)
        _memory(patch, pretended)
        _attention(patch)
        yield pretended


def small_sdxl(checkpoint):
    """(model, clip, vae) of the tiny SDXL for the device that ComfyUI has now, with the small UNet."""
    loaded = tiny_sdxl.load(checkpoint)
    kind = tiny_sdxl.register()(SMALL)
    kind.set_inference_dtype(torch.float16, None)
    with torch.inference_mode():
        unet = kind.get_model({}, "", device="cpu").eval().requires_grad_(False)
        for weight in unet.parameters():
            weight.fill_(0.1)
    places = mm.get_torch_device(), mm.unet_offload_device()
    return loaded._replace(model=comfy.model_patcher.ModelPatcher(unet, *places))


def _memory(patch, pretended):
    total, free = mm.get_total_memory, mm.get_free_memory

    def is_card(device):
        return device is None or torch.device(device) == CARD

    def get_total_memory(dev=None, torch_total_too=False):
        if not is_card(dev):
            return total(dev, torch_total_too)
        return (pretended.vram, pretended.vram) if torch_total_too else pretended.vram

    def get_free_memory(dev=None, torch_free_too=False):
        if not is_card(dev):
            return free(dev, torch_free_too)
        return (pretended.free(), 0) if torch_free_too else pretended.free()

    patch.setattr(mm, "get_total_memory", get_total_memory)
    patch.setattr(mm, "get_free_memory", get_free_memory)


def _attention(patch):
    """As with CUDA: torch's attention everywhere, in a kernel where there is no mask."""
    own = F.scaled_dot_product_attention
    fused = torch.ops.aten._scaled_dot_product_flash_attention

    def attend(query, key, value, attn_mask=None, *args, **kwargs):
        if query.device == CARD and attn_mask is None and not kwargs.get("is_causal"):
            return fused(query, key, value)[0]
        return own(query, key, value, attn_mask, *args, **kwargs)

    patch.setattr(F, "scaled_dot_product_attention", attend)
    patch.setattr(mm, "ENABLE_PYTORCH_ATTENTION", True)
    patch.setattr(attention, "optimized_attention", attention.attention_pytorch)
    patch.setattr(attention, "optimized_attention_masked", attention.attention_pytorch)
