"""ComfyUI's CLIP object as an encoder of captions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor

from ....trainer.config.cache import AS_PROMPTS, TextConfig
from ....trainer.device.transfer import send
from ....trainer.sdxl.token_chunks import kohya_positions
from .clip_account import check_account, embeddings, unusual
from .clip_tokens import kohya_tokens, mends_letters, with_unit_weights
from .fingerprint import fingerprint
from .host_types import Clip, Conditioning, Tokens
from .pinning import may_pin

Run = Callable[[Tokens], tuple[Tensor, Tensor]]
"""ComfyUI's tokens -> context [1, 77 n, C] and pooled [1, P]."""

MAX_LETTERS, MAX_BRACKETS = 10_000, 50
"""Of a caption or prompt."""

UNUSED = ("clip_l.transformer.text_projection.weight", "clip_l.logit_scale")
"""SDXL has these for its larger encoder only: ComfyUI leaves the first as unwritten memory."""


def encode_caption(
    clip: Clip, text: str, recipe: TextConfig = AS_PROMPTS, run: Run | None = None
) -> tuple[Tensor, Tensor]:
    """A caption -> context [T, C] and pooled [P], float32 on the CPU, or where ``run`` leaves them.

    T is 77 n in ComfyUI's chunks, as many as the caption needs; in kohya's 77, 152 or 227 whatever
    the caption. Unless the recipe says so, no part of a caption is taken for a weight.
    ``run`` goes through the encoders in place of ComfyUI's own way of encoding a prompt.
    """
    _check(text, literal=not recipe.weighted)
    run = run or partial(_run, clip)
    if recipe.chunks == "comfyui":
        context, pooled = run(_tokens(clip, text, literal=not recipe.weighted))
        return context[0].float(), pooled[0].float()
    return _encode_as_kohya(clip, text, recipe, run)


def _encode_as_kohya(clip: Clip, text: str, recipe: TextConfig, run: Run) -> tuple[Tensor, Tensor]:
    """All chunks encoded, their inner begins and ends left out, weights multiplied in.

    See docs/kohya.md, "Text encoding".
    """
    length = int(recipe.chunks.removeprefix("kohya "))
    tokens = kohya_tokens(clip.tokenizer, text, length, recipe.weighted)
    pairs = {name: with_unit_weights(chunks) for name, chunks in tokens.chunks.items()}
    context, pooled = run(pairs)
    bring = partial(send, device=context.device, pins=may_pin())
    joined = (
        context[0].float().index_select(0, bring(torch.tensor(kohya_positions(len(pairs["l"])))))
    )
    if tokens.weights is not None:
        joined = joined * bring(torch.tensor(tokens.weights))[:, None]
    return joined, pooled[0].float()


def conditioning(clip: Clip, text: str) -> Conditioning:
    """ComfyUI's CONDITIONING of a prompt."""
    _check(text, literal=False)
    return clip.encode_from_tokens_scheduled(_tokens(clip, text))


def _check(text: str, *, literal: bool) -> None:
    """Refuse what takes the tokenizer minutes or more levels of calls than Python has."""
    depth = deepest = 0
    for bracket in () if literal else filter("()[]".__contains__, text):
        depth = depth + 1 if bracket in "([" else max(0, depth - 1)
        deepest = max(deepest, depth)
    if len(text) > MAX_LETTERS or deepest > MAX_BRACKETS:
        raise ValueError(
            f"The caption or prompt that begins with {text[:60]!r} has {len(text)} characters and "
            f"brackets that are {deepest} deep; allowed: {MAX_LETTERS} characters, {MAX_BRACKETS} deep."
        )


def _tokens(clip: Clip, text: str, *, literal: bool = False) -> Tokens:
    return clip.tokenize(text, disable_weights=True) if literal else clip.tokenize(text)


def _run(clip: Clip, tokens: Tokens) -> tuple[Tensor, Tensor]:
    [[context, extra], *_] = clip.encode_from_tokens_scheduled(tokens)
    return context.cpu(), extra["pooled_output"].cpu()


def clip_fingerprint(clip: Clip, recipe: TextConfig = AS_PROMPTS, texts: Iterable[str] = ()) -> str:
    """Digest of whatever an encoding depends on but its caption: weights, hooks, options, the way of encoding.

    ``texts``: the captions to come; the textual inversions that they name count by their contents.
    """
    way = (recipe.chunks, recipe.weighted, recipe.chunks != "comfyui" and mends_letters())
    more = (
        [*unusual(clip), *embeddings(clip, texts)] if recipe.chunks == "comfyui" else unusual(clip)
    )
    extra = ("clip", clip.layer_idx, *way, *((more,) if more else ()))
    return fingerprint(clip.patcher, *extra, without=UNUSED)


def check_clip(clip: Clip) -> None:
    """Refuse a CLIP that is not SDXL's pair, or whose encodings cannot be told apart. Raises ValueError."""
    model = clip.cond_stage_model
    if not (hasattr(model, "clip_l") and hasattr(model, "clip_g")):
        raise ValueError(
            f"This CLIP ({type(model).__name__}) is not SDXL's pair of text encoders. Connect the "
            "CLIP output of the checkpoint loader that the MODEL comes from."
        )
    check_account(clip)
