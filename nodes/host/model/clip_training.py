"""ComfyUI's CLIP object as something to train: its encoders, and encoding with gradients."""

from __future__ import annotations

import math
from functools import partial

from torch import Tensor, nn

from ....trainer.cache.latents import CachedDataset
from ....trainer.cache.texts import Encode
from ....trainer.config.cache import TextConfig
from ....trainer.sdxl.token_chunks import INNER
from .clip import encode_caption
from .host_types import Clip, Patcher, Tokens
from .unet import check_layers


def encoders(clip: Clip) -> tuple[nn.Module, nn.Module]:
    """CLIP-L and CLIP-G: the transformers that the adapters are attached to."""
    model = clip.cond_stage_model
    return model.clip_l.transformer, model.clip_g.transformer


def check_text_training(clip: Clip | None, patcher: Patcher) -> None:
    """Refuse text encoders that cannot be trained beside the MODEL of this patcher. Raises ValueError."""
    if clip is None:
        raise ValueError(
            "The text encoders are to be trained: connect CLIP to Train, or set both text encoder "
            "rates in Optimiser Settings to 0."
        )
    check_layers(clip.cond_stage_model, "CLIP")
    if getattr(clip.patcher, "forced_hooks", None) is not None:
        raise ValueError(
            "This CLIP carries hooks (Set CLIP Hooks), on which its text encoders are not trained. Connect "
            "the CLIP from before that node, or set both text encoder rates in Optimiser Settings to 0."
        )
    device, other = patcher.load_device, clip.patcher.load_device
    if device != other:
        raise ValueError(
            f"ComfyUI runs the text encoders on {other} and the UNet on {device}; they are trained on "
            "one device. Start ComfyUI with --gpu-only, load CLIP on the default device, or set both "
            "text encoder rates in Optimiser Settings to 0."
        )


def live_encode(clip: Clip, recipe: TextConfig) -> Encode:
    """An encoder of captions like ``encode_caption``, through the encoders as they stand, with gradients.

    Nothing is loaded or moved: the encoders must be on their device, and it is called outside of
    inference mode. Context and pooled are float32 on the CPU.
    """
    return lambda caption: encode_caption(clip, caption, recipe, partial(_run, clip))


def _run(clip: Clip, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """What ComfyUI's CLIP does with tokens once it is loaded."""
    model = clip.cond_stage_model
    model.reset_clip_options()
    if clip.layer_idx is not None:
        model.set_clip_options({"layer": clip.layer_idx})
    model.set_clip_options({"execution_device": clip.patcher.load_device})
    context, pooled = model.encode_token_weights(tokens)[:2]
    return context, pooled


LETTERS = 3
"""Of a token in captions, at least on average."""


def chunks_of_longest(clip: Clip | None, cached: CachedDataset) -> int:
    """How many chunks of 77 positions about the longest caption has; without a CLIP rather one more."""
    if cached.texts.chunks != "comfyui":
        return int(cached.texts.chunks.removeprefix("kohya ")) // INNER
    longest = max((item.caption for item in cached.items), key=len)
    if clip is None:
        return max(1, math.ceil(len(longest) / LETTERS / INNER))
    return len(clip.tokenize(longest)["l"])
