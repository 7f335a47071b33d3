"""ComfyUI's CLIP object as something to train: its encoders, and encoding with gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from numbers import Integral
from typing import Any

import torch
from comfy.clip_model import CLIPAttention
from comfy.ldm.modules.attention import attention_pytorch
from torch import Tensor, nn

from ....trainer.cache.latents import CachedDataset
from ....trainer.cache.texts import Encode
from ....trainer.config.cache import TextConfig
from ....trainer.device.attending import attend
from ....trainer.device.transfer import send
from ....trainer.layers.attach import Replacement
from ....trainer.sdxl.token_chunks import INNER
from .clip import encode_caption
from .host_types import Clip, Encoder, Patcher, Tokens
from .pinning import may_pin
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


def attention_plan(encoder: nn.Module) -> Iterator[Replacement]:
    """PyTorch's attention as the trainer asks for it, where ComfyUI would ask for cuDNN's.

    ComfyUI's other one for text encoders is plain arithmetic, and stays.
    """
    for name, module in encoder.named_modules():
        if isinstance(module, CLIPAttention):
            yield Replacement(name, module, _attending(module.forward))


def _attending(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(x: Tensor, mask: Tensor | None = None, optimized_attention: Any = None) -> Tensor:
        trains = optimized_attention is attention_pytorch and not torch.is_inference_mode_enabled()
        return forward(x, mask, attend if trains else optimized_attention)

    return run


def live_encode(clip: Clip, recipe: TextConfig) -> Encode:
    """An encoder of captions like ``encode_caption``, through the encoders as they stand, with gradients.

    Nothing is loaded or moved: the encoders must be on their device, and it is called outside of
    inference mode. Context and pooled are float32. On the encoders' device, which is not waited for; on the
    CPU where the caption has weights or textual inversions.
    """
    return lambda caption: encode_caption(clip, caption, recipe, partial(_run, clip))


def _run(clip: Clip, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """What ComfyUI's CLIP does with tokens once it is loaded."""
    model = clip.cond_stage_model
    model.reset_clip_options()
    if clip.layer_idx is not None:
        model.set_clip_options({"layer": clip.layer_idx})
    model.set_clip_options({"execution_device": clip.patcher.load_device})
    if not all(_is_plain(chunk) for chunks in tokens.values() for chunk in chunks):
        context, pooled = model.encode_token_weights(tokens)[:2]
        return context, pooled
    device = clip.patcher.load_device
    of_l, _ = _encode(model.clip_l, tokens["l"], device)
    of_g, pooled = _encode(model.clip_g, tokens["g"], device)
    return torch.cat([of_l, of_g], dim=-1), pooled


def _is_plain(chunk: Sequence[tuple[Any, float]]) -> bool:
    """Whether it is nothing but ids of tokens at their full weight."""
    return all(isinstance(token, Integral) and weight == 1.0 for token, weight in chunk)


def _encode(
    encoder: Encoder, chunks: Sequence[Sequence[tuple[int, float]]], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Context [1, 77 n, C] and pooled [1, P] of plain chunks, on the device.

    ComfyUI's own way (encode_token_weights) computes the same, but waits for the device: for the tokens and
    their number to get there, and for the encodings to come back.
    """
    ids = torch.tensor([[token for token, _ in chunk] for chunk in chunks])
    ids = send(ids, device, pins=may_pin())
    last, inner, projected, pooled = encoder.transformer(
        ids,
        intermediate_output=encoder.layer_idx,
        final_layer_norm_intermediate=encoder.layer_norm_hidden_state,
        dtype=torch.float32,
    )
    context = last if encoder.layer == "last" else inner
    pooled = projected if encoder.return_projected_pooled else pooled
    return context.float().flatten(0, 1)[None], pooled.float()[:1]


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
