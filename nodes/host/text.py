"""ComfyUI's CLIP object as an encoder of captions."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .fingerprint import fingerprint

UNUSED = ("clip_l.transformer.text_projection.weight", "clip_l.logit_scale")
"""SDXL has these for its larger encoder only: ComfyUI leaves the first as unwritten memory."""


def encode_caption(clip: Any, text: str) -> tuple[Tensor, Tensor]:
    """A caption -> context [77 n, C] and pooled [P], float32 on the CPU.

    Parentheses are literal: no part of a caption is taken for a weight. Long captions become as
    many 77-token chunks as they need, as in ComfyUI's prompts.
    """
    [[context, extra], *_] = conditioning(clip, text, literal=True)
    return context[0].float().cpu(), extra["pooled_output"][0].float().cpu()


def conditioning(clip: Any, text: str, *, literal: bool = False) -> list[Any]:
    """ComfyUI's CONDITIONING of a prompt."""
    tokens = clip.tokenize(text, disable_weights=True) if literal else clip.tokenize(text)
    return clip.encode_from_tokens_scheduled(tokens)


def clip_fingerprint(clip: Any) -> str:
    """Digest of the text encoders and of the layer that is read from them."""
    return fingerprint(clip.patcher, "clip", clip.layer_idx, without=UNUSED)


def check_clip(clip: Any) -> None:
    """Refuse a CLIP that is not SDXL's pair. Raises ValueError."""
    model = clip.cond_stage_model
    if not (hasattr(model, "clip_l") and hasattr(model, "clip_g")):
        raise ValueError(
            f"This CLIP ({type(model).__name__}) is not SDXL's pair of text encoders. Connect the "
            "CLIP output of the checkpoint loader that the MODEL comes from."
        )
