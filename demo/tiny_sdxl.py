"""A tiny SDXL that ComfyUI loads like a real one: `register()` first, then any loader.

Same classes, keys and code paths as SDXL; only widths and depths are small. The UNet is random
but not senseless: an identity path makes it predict about the noise that it sees, as a model of
featureless images would, so that samples stay in range and LoRAs on it have something to learn.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import tiny_vae
from .whole_layers import whole_layers

CHANNELS = 64  # two per normalisation group: with one, timestep and mean colour would be lost
CLIP_L_WIDTH = 16
CLIP_G_WIDTH = 32
PAIRS = 16  # channel pairs (+x, -x) that carry the input to the output
UNET_MATCH = {
    "model_channels": CHANNELS,
    "use_linear_in_transformer": True,
    "transformer_depth": [0, 0, 1, 1, 2, 2],
    "context_dim": CLIP_L_WIDTH + CLIP_G_WIDTH,
    "adm_in_channels": CLIP_G_WIDTH + 6 * 256,
    "use_temporal_attention": False,
}
UNET_CONFIG = {
    **UNET_MATCH,
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 1, 2],
    "transformer_depth_middle": 2,
    "transformer_depth_output": [0, 0, 0, 1, 1, 1, 2, 2, 2],
    "num_classes": "sequential",
    "num_heads": -1,
    "num_head_channels": 16,
    "use_spatial_transformer": True,
    "legacy": False,
}


class Loaded(NamedTuple):
    """What a checkpoint loader node returns."""

    model: Any
    clip: Any
    vae: Any


def register(name: str = "TinySDXL", match: dict[str, Any] = UNET_MATCH) -> type:
    """Make ComfyUI recognise tiny checkpoints whose UNet has the config `match`.

    Calling it again with the same name changes nothing.
    """
    from comfy import supported_models

    for known in supported_models.models:
        if known.__name__ == name:
            return known
    model_class = type(name, (_model_class(),), {"unet_config": dict(match)})
    supported_models.models.insert(0, model_class)
    return model_class


def write_checkpoint(
    path: str | Path,
    seed: int = 0,
    dtype: torch.dtype = torch.float16,
    v_pred: bool = False,
    ztsnr: bool = False,
) -> Path:
    """Write a single-file checkpoint in SDXL's key layout to `path` and return it."""
    model_class = register()
    generator = torch.Generator().manual_seed(seed)
    with whole_layers():
        tensors = {
            **_unet_tensors(model_class, generator, follow_input=not v_pred),
            **_clip_tensors(model_class, generator),
            **tiny_vae.state_dict(),
        }
    if v_pred:
        tensors["v_pred"] = torch.tensor([])
    if ztsnr:
        tensors["ztsnr"] = torch.tensor([])
    return save(path, tensors, dtype)


def save(path: str | Path, tensors: dict[str, Tensor], dtype: torch.dtype) -> Path:
    """Write a checkpoint's tensors to `path`, floats as `dtype`, and return it."""
    import comfy.utils

    tensors = {
        key: (value.to(dtype) if value.is_floating_point() else value).contiguous().clone()
        for key, value in tensors.items()
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    comfy.utils.save_torch_file(tensors, str(unfinished), metadata={"format": "pt"})
    return unfinished.replace(path)


def load(path: str | Path) -> Loaded:
    """Load as ComfyUI's checkpoint loader does: weights are inference tensors."""
    import comfy.sd

    with torch.inference_mode():
        return Loaded(*comfy.sd.load_checkpoint_guess_config(str(path))[:3])


def _model_class() -> type:
    from comfy import sdxl_clip, supported_models, supported_models_base

    clip = clip_class()

    class Tiny(supported_models.SDXL):
        unet_extra_config = {"num_heads": -1, "num_head_channels": 16}
        clip_class = clip

        def clip_target(self, state_dict: dict[str, Tensor] | None = None) -> Any:
            return supported_models_base.ClipTarget(sdxl_clip.SDXLTokenizer, clip)

    return Tiny


def clip_class() -> type:
    from comfy import sd1_clip, sdxl_clip

    class TinyClipG(sd1_clip.SDClipModel):
        def __init__(
            self,
            device: Any = "cpu",
            dtype: Any = None,
            model_options: dict[str, Any] | None = None,
        ):
            super().__init__(
                device=device,
                layer="hidden",
                layer_idx=-2,
                textmodel_json_config=_clip_config(CLIP_G_WIDTH, "gelu"),
                dtype=dtype,
                special_tokens={"start": 49406, "end": 49407, "pad": 0},
                layer_norm_hidden_state=False,
                return_projected_pooled=True,
                model_options={**(model_options or {}), "model_name": "clip_g"},
            )

    class TinyClip(sdxl_clip.SDXLClipModel):
        def __init__(
            self,
            device: Any = "cpu",
            dtype: Any = None,
            model_options: dict[str, Any] | None = None,
        ):
            torch.nn.Module.__init__(self)
            self.clip_l = sd1_clip.SDClipModel(
                layer="hidden",
                layer_idx=-2,
                device=device,
                textmodel_json_config=_clip_config(CLIP_L_WIDTH, "quick_gelu"),
                dtype=dtype,
                layer_norm_hidden_state=False,
                model_options={**(model_options or {}), "model_name": "clip_l"},
            )
            self.clip_g = TinyClipG(device=device, dtype=dtype, model_options=model_options)
            self.dtypes = {dtype}

        def load_sd(self, sd: dict[str, Tensor]) -> Any:
            width = sd["text_model.final_layer_norm.weight"].shape[0]
            return (self.clip_g if width == CLIP_G_WIDTH else self.clip_l).load_sd(sd)

    return TinyClip


def _clip_config(width: int, activation: str) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_attention_heads": 2,
        "num_hidden_layers": 3,  # the fewest of which -2 can be asked for
        "hidden_act": activation,
        "max_position_embeddings": 77,
        "eos_token_id": 49407,
        "layer_norm_eps": 1e-5,
        "vocab_size": 49408,
    }


def _unet_tensors(
    model_class: type, generator: torch.Generator, follow_input: bool
) -> dict[str, Tensor]:
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    unet = UNetModel(
        **UNET_CONFIG, device="cpu", dtype=torch.float32, operations=comfy.ops.disable_weight_init
    )
    tensors = random_like(unet.state_dict(), generator)
    for key in tensors:  # what SDXL starts at zero: small here, so that every block takes part
        if key.endswith(("out_layers.3.weight", "proj_out.weight")):
            tensors[key] *= 0.4
    add_identity_path(tensors, 1.0 if follow_input else 0.0)
    return model_class(UNET_CONFIG).process_unet_state_dict_for_saving(tensors)


def add_identity_path(tensors: dict[str, Tensor], strength: float) -> None:
    """Lead the input to the output by way of the outermost skip connection.

    SiLU(a) - SiLU(-a) = a, so a pair (+x, -x) passes normalisation and activation as x.
    """
    first, skip, last = (
        tensors[key]
        for key in (
            "input_blocks.0.0.weight",
            "output_blocks.8.0.skip_connection.weight",
            "out.2.weight",
        )
    )
    first[: 2 * PAIRS] = 0
    skip[:, CHANNELS:] = torch.eye(CHANNELS)[:, :, None, None]
    skip[:, :CHANNELS] *= 0.3
    last *= 0.2
    last[:, : 2 * PAIRS] *= 0.2
    for pair in range(PAIRS):
        for sign, channel in ((1, 2 * pair), (-1, 2 * pair + 1)):
            first[channel, pair % 4, 1, 1] = sign
            last[pair % 4, channel, 1, 1] += sign * strength * 4 / PAIRS


def _clip_tensors(model_class: type, generator: torch.Generator) -> dict[str, Tensor]:
    with torch.no_grad():
        clip = model_class.clip_class(device="cpu", dtype=torch.float32)
    tensors = random_like(clip.state_dict(), generator)
    return model_class(UNET_CONFIG).process_clip_state_dict_for_saving(tensors)


def random_like(shapes: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Weights that keep variance; norms at one, biases at zero; everything else as it is."""
    return {key: random_tensor(key, value, generator) for key, value in shapes.items()}


def random_tensor(key: str, like: Tensor, generator: torch.Generator) -> Tensor:
    if not like.is_floating_point() or like.dim() == 0:
        return like.clone()
    if like.dim() == 1:
        return torch.ones(like.shape) if key.endswith("weight") else torch.zeros(like.shape)
    fan_in = 1 if "embedding" in key else math.prod(like.shape[1:])
    return torch.randn(like.shape, generator=generator) / math.sqrt(fan_in)
