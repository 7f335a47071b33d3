"""What is known of ComfyUI's transformer blocks: whether one is as SDXL has it, and computes as we do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from ..frozen.forward import is_linear
from ..rng import generator
from .attach import Attachment, Replacement

TOLERANCE = {torch.bfloat16: 3e-2, torch.float16: 1e-2}
"""How long the difference of two forwards may be, to what they give; of other dtypes 1e-4."""
TOKENS, TEXT = 4, 3


def is_patched(transformer_options: Mapping[str, Any] = MappingProxyType({}), **_: Any) -> bool:
    """Whether nodes have put something into ComfyUI's blocks, which only their own forward heeds."""
    return any(transformer_options.get(name) for name in ("patches", "patches_replace"))


def is_transformer(block: nn.Module) -> bool:
    """ComfyUI's block as SDXL has it: norm and self-attention, norm and cross-attention, norm and GEGLU.

    One in which somebody has put a forward of their own is none.
    """
    if type(block).__name__ != "BasicTransformerBlock":
        return False
    odd = ("ff_in", "disable_self_attn", "switch_temporal_ca_to_sa")
    attentions = [getattr(block, name, None) for name in ("attn1", "attn2")]
    norms = [getattr(block, name, None) for name in ("norm1", "norm2", "norm3")]
    return (
        not any("forward" in vars(module) for module in block.modules())
        and not any(getattr(block, name, False) for name in odd)
        and all(_is_attention(attention) for attention in attentions)
        and all(isinstance(norm, nn.LayerNorm) for norm in norms)
        and _is_geglu(getattr(block, "ff", None))
    )


def _is_attention(module: nn.Module | None) -> bool:
    parts = [getattr(module, name, None) for name in ("to_q", "to_k", "to_v")]
    out = getattr(module, "to_out", None)
    return (
        hasattr(module, "heads")
        and isinstance(out, nn.Sequential)
        and all(part is not None and is_linear(part) for part in (*parts, out[0]))
    )


def _is_geglu(module: nn.Module | None) -> bool:
    net = getattr(module, "net", None)
    return (
        isinstance(net, nn.Sequential)
        and len(net) == 3
        and type(net[0]).__name__ == "GEGLU"
        and is_linear(net[2])
    )


def odd_blocks(
    plan: Sequence[Replacement], dtype: torch.dtype, device: torch.device, **options: Any
) -> list[str]:
    """Names of blocks that a plan replaces, one of each kind, that do not give what their own forward gives.

    Their own over the layers of the plan, that is. options: what the host gives its blocks.
    """
    layers: list[Replacement] = []
    blocks: dict[Any, Replacement] = {}
    for step in plan:
        if not is_transformer(step.module):
            layers.append(step)
        else:
            shapes = (tuple(p.shape) for p in step.module.parameters())
            blocks.setdefault((type(step.module), *shapes), step)
    with Attachment(layers), torch.no_grad():
        return [s.name for s in blocks.values() if not _agrees(s, dtype, device, options)]


def _agrees(
    step: Replacement, dtype: torch.dtype, device: torch.device, options: Mapping[str, Any]
) -> bool:
    block: Any = step.module
    rng = generator(0, step.name)

    def draw(count: int, width: int) -> Tensor:
        return torch.randn(2, count, width, generator=rng).to(device, dtype)

    x, context = (
        draw(TOKENS, block.norm1.normalized_shape[0]),
        draw(TEXT, block.attn2.to_k.in_features),
    )
    ours = step.forward(x.clone(), context=context, **options).float()
    theirs = block(x, context=context, **options).float()
    bound = TOLERANCE.get(dtype, 1e-4) * theirs.norm()
    return not bool(
        (ours - theirs).norm() > bound
    )  # weights that are not finite are told elsewhere
