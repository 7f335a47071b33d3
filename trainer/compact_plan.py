"""Which layers of an SDXL UNet are replaced by compact ones, and by which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from .attach import Replacement, leaf_plan
from .compact import Layer, geglu_linear, linears, norm_silu
from .frozen import is_linear
from .network import Network
from .weights import Weights


def compact_plan(unet: nn.Module, network: Network, weights: Weights) -> list[Replacement]:
    """The leaf plan, and over it compact transformer blocks and norms wherever they are recognised."""
    adapters = {target.module: network.adapters[target.key] for target in network.targets}

    def layer(module: nn.Module) -> Layer:
        return Layer(module, adapters.get(module))

    plan = leaf_plan(unet, network, weights)
    for name, module in unet.named_modules():
        if _is_transformer(module):
            plan += _transformer(name, module, layer, weights)
        elif isinstance(module, nn.Sequential) and _is_norm_silu(module):
            norm, silu = module[0], module[1]
            plan.append(Replacement(f"{name}.0", norm, _normed(norm, weights)))
            plan.append(Replacement(f"{name}.1", silu, _same))
    return plan


def _is_transformer(block: nn.Module) -> bool:
    """ComfyUI's block as SDXL has it: norm and self-attention, norm and cross-attention, norm and GEGLU."""
    if type(block).__name__ != "BasicTransformerBlock" or getattr(block, "ff_in", False):
        return False
    odd = getattr(block, "disable_self_attn", False) or getattr(
        block, "switch_temporal_ca_to_sa", False
    )
    attentions = [getattr(block, name, None) for name in ("attn1", "attn2")]
    norms = [getattr(block, name, None) for name in ("norm1", "norm2", "norm3")]
    return (
        not odd
        and all(_is_attention(attention) for attention in attentions)
        and all(isinstance(norm, nn.LayerNorm) for norm in norms)
        and _is_geglu(getattr(block, "ff", None))
    )


def _is_attention(module: nn.Module | None) -> bool:
    linear = all(
        is_linear(getattr(module, name, nn.Identity())) for name in ("to_q", "to_k", "to_v")
    )
    out = getattr(module, "to_out", None)
    return linear and hasattr(module, "heads") and out is not None and is_linear(out[0])


def _is_geglu(module: nn.Module | None) -> bool:
    net = getattr(module, "net", None)
    return (
        isinstance(net, nn.Sequential)
        and len(net) == 3
        and type(net[0]).__name__ == "GEGLU"
        and is_linear(net[2])
    )


def _is_norm_silu(module: nn.Sequential) -> bool:
    return (
        len(module) >= 2 and isinstance(module[0], nn.GroupNorm) and isinstance(module[1], nn.SiLU)
    )


def _transformer(
    name: str, block: Any, layer: Callable[[nn.Module], Layer], weights: Weights
) -> list[Replacement]:
    """Each norm becomes part of the layers behind it."""
    first, second, ff = block.attn1, block.attn2, block.ff
    norms = [Replacement(f"{name}.norm{n}", getattr(block, f"norm{n}"), _same) for n in (1, 2, 3)]
    return [
        *norms,
        Replacement(f"{name}.attn1", first, _self_attention(first, block.norm1, layer, weights)),
        Replacement(f"{name}.attn2", second, _cross_attention(second, block.norm2, layer, weights)),
        Replacement(f"{name}.ff", ff, _feed_forward(ff, block.norm3, layer, weights)),
    ]


def _same(x: Tensor) -> Tensor:
    return x


def _normed(norm: nn.GroupNorm, weights: Weights) -> Callable[[Tensor], Tensor]:
    return lambda x: norm_silu(x, norm, weights)


def _self_attention(
    attention: Any, norm: nn.LayerNorm, layer: Callable[[nn.Module], Layer], weights: Weights
) -> Callable[..., Tensor]:
    layers = [layer(module) for module in (attention.to_q, attention.to_k, attention.to_v)]
    out = layer(attention.to_out[0])

    def forward(x: Tensor, *_: Any, **__: Any) -> Tensor:
        q, k, v = linears(x, layers, weights, norm)
        return _attended(q, k, v, attention.heads, out, weights)

    return forward


def _cross_attention(
    attention: Any, norm: nn.LayerNorm, layer: Callable[[nn.Module], Layer], weights: Weights
) -> Callable[..., Tensor]:
    query = [layer(attention.to_q)]
    pair = [layer(module) for module in (attention.to_k, attention.to_v)]
    out = layer(attention.to_out[0])

    def forward(x: Tensor, context: Tensor, *_: Any, **__: Any) -> Tensor:
        (q,) = linears(x, query, weights, norm)
        k, v = linears(context, pair, weights)
        return _attended(q, k, v, attention.heads, out, weights)

    return forward


def _attended(
    q: Tensor, k: Tensor, v: Tensor, heads: int, out: Layer, weights: Weights
) -> Tensor:
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    return linears(mixed, [out], weights)[0]


def _feed_forward(
    ff: Any, norm: nn.LayerNorm, layer: Callable[[nn.Module], Layer], weights: Weights
) -> Callable[[Tensor], Tensor]:
    inner, outer = [layer(ff.net[0].proj)], layer(ff.net[2])

    def forward(x: Tensor) -> Tensor:
        (both,) = linears(x, inner, weights, norm)
        return geglu_linear(both, outer, weights)

    return forward
