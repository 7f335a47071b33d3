"""Whose LoRA a file is that is not SDXL's: told by the names of its layers, their widths, its metadata."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from .shapes import change_shape

_FIRST_TWO = (
    r"down_blocks_0_attentions|(?:up|down)_blocks_3_|input_blocks_[12]_1_|(?:in|out)put_blocks_(?:9|1\d)_"
    r"|output_blocks_[678]_1_(?:norm|proj|transformer)|(?:down_blocks_2_down|up_blocks_2_up)samplers"
)
_NAMES = {
    "HiDream": r"(?:double|single)_stream_blocks",
    "Qwen-Image": r"transformer_blocks_\d+_(?:img|txt)_(?:mlp|mod)",
    "Flux or a model built like it": r"single_transformer_blocks|double_blocks_|single_blocks_",
    "Stable Diffusion 3": r"joint_blocks|_add_[qkv]_proj|_to_add_out|norm1_context",
    "Stable Cascade": r"lora_prior_",
    "Z-Image or Lumina": r"(?:^|_)(?:layers_\d+_attention_|noise_refiner|context_refiner)",
    "Cosmos or Anima": r"(?:^|_)blocks_\d+_(?:self_attn|cross_attn)_(?:[qkv]|output)_proj",
    "Wan": r"(?:^|_)blocks_\d+_(?:(?:self_attn|cross_attn)_[qkvo]|ffn_\d)",
    "Stable Diffusion 1 or 2": _FIRST_TWO,
    "LTX, PixArt or another transformer model": r"^(?:base_model_model_|diffusion_model_)?"
    r"(?:lora_|lycoris_)?(?:transformer_)*transformer_blocks_\d+_",
}
"""An architecture -> what only its layers are called, parts joined by `_`; the first that fits counts."""
_PATTERNS = {name: re.compile(pattern) for name, pattern in _NAMES.items()}

_CONTEXTS = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 1280: "the refiner of SDXL"}
"""The width of the encoded text -> the UNet that takes it; SDXL's is 2048."""
_OF_CONTEXT = re.compile(r"lora_unet_.*_attn2_to_[kv]")


def by_width(layers: Mapping[str, Mapping[str, Tensor]]) -> str | None:
    """The other model with a UNet whose text has the width that these layers take; None for none.

    ``layers``: parts by kohya's stem.
    """
    for stem, parts in layers.items():
        if _OF_CONTEXT.fullmatch(stem):
            return _CONTEXTS.get(change_shape(parts)[1] or 0)
    return None


def by_names(names: Iterable[str]) -> str | None:
    """The architecture that keys of a file show; None where they show none."""
    joined = [name.replace(".", "_") for name in names]
    for architecture, pattern in _PATTERNS.items():
        if any(map(pattern.search, joined)):
            return architecture
    return None


def by_metadata(metadata: Mapping[str, str]) -> str | None:
    """What the metadata say, if it is not SDXL."""
    for key in ("modelspec.architecture", "ss_base_model_version"):
        said = metadata.get(key, "")
        if said and (not said.startswith(("sdxl", "stable-diffusion-xl")) or "refiner" in said):
            return said
    return None
