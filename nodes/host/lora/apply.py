"""A LoRA in memory applied to a MODEL and CLIP."""

from __future__ import annotations

from collections.abc import Mapping

import comfy.sd
from torch import Tensor

from ..model.host_types import Clip, ModelPatcher, Patcher


def apply_lora(
    model: ModelPatcher, clip: Clip | None, lora: Mapping[str, Tensor], strength: float
) -> tuple[ModelPatcher, Clip | None]:
    """MODEL and CLIP with the LoRA; strength 0 gives them back untouched.

    Takes ours and ComfyUI's own LORA_MODEL. Raises ValueError when nothing of it fits what is given.
    """
    if strength == 0:
        return model, clip
    patched, patched_clip = comfy.sd.load_lora_for_models(
        model, clip, dict(lora), strength, strength
    )
    same_clip = clip is None or _same_patches(clip.patcher, patched_clip.patcher)
    if same_clip and _same_patches(model, patched):
        raise ValueError(
            "No part of this LoRA fits the MODEL. Either it was trained on another kind of model: "
            "connect an SDXL MODEL, or the LoRA that belongs to this one. Or it is for the text "
            "encoders alone: connect CLIP too."
        )
    return patched, patched_clip


def _same_patches(before: Patcher, after: Patcher) -> bool:
    if len(after.patches) != len(before.patches):
        return False
    return all(len(after.patches[key]) == len(value) for key, value in before.patches.items())
