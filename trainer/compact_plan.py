"""Which layers of an SDXL UNet are replaced by compact ones, and by which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from .adapters import Adapter, Lora
from .attach import Replacement, leaf_plan
from .compact import Layer, geglu_linear, linears, norm_silu
from .elementwise import EAGER, Elementwise
from .frozen import is_linear
from .network import Network
from .weights import Weights

Forward = Callable[..., Tensor]


def compact_plan(
    unet: nn.Module, network: Network, weights: Weights, elementwise: Elementwise = EAGER
) -> list[Replacement]:
    """The leaf plan, and over it compact transformer blocks and norms wherever they are recognised.

    Compact are blocks as SDXL has them whose adapters are plain LoRA, and only while nothing is
    dropped and the adapters have their whole strength; else they compute layer by layer. elementwise:
    what computes between their matrix products.
    """
    leaves = leaf_plan(unet, network, weights)
    inside = _Inside(
        {target.module: network.adapters[target.key] for target in network.targets},
        {leaf.module: leaf.forward for leaf in leaves},
        network,
        weights,
        elementwise,
    )
    plan = []
    for name, module in unet.named_modules():
        if _is_transformer(module) and inside.is_plain(module):
            plan += _transformer(name, module, inside)
        elif isinstance(module, nn.Sequential):
            plan += _norm_and_silu(name, module, inside)
    taken = {step.module for step in plan}
    return [*(leaf for leaf in leaves if leaf.module not in taken), *plan]


class _Inside(NamedTuple):
    """What compact layers are made of."""

    adapters: dict[nn.Module, Adapter]
    leaves: dict[nn.Module, Forward]
    network: Network
    weights: Weights
    elementwise: Elementwise

    def is_plain(self, block: nn.Module) -> bool:
        """Whether every adapter in it is a plain LoRA."""
        found = (self.adapters.get(module) for module in block.modules())
        return all(type(adapter) is Lora for adapter in found if adapter is not None)

    def layers(self, *modules: nn.Module) -> list[Layer]:
        adapters = (self.adapters.get(module) for module in modules)
        pairs = zip(modules, adapters, strict=True)
        return [Layer(module, a if isinstance(a, Lora) else None) for module, a in pairs]

    def unless_plain(self, compact: Forward, module: nn.Module, norm: nn.Module) -> Forward:
        """The compact forward where it holds, else the module's own behind its norm."""
        own, normed, network = module.forward, self.leaves[norm], self.network

        def forward(x: Tensor, *rest: Any, **options: Any) -> Tensor:
            if network.strength == 1.0 and network.dropout is None:
                return compact(x, *rest, **options)
            return own(normed(x), *rest, **options)

        return forward


def _is_transformer(block: nn.Module) -> bool:
    """ComfyUI's block as SDXL has it: norm and self-attention, norm and cross-attention, norm and GEGLU."""
    if type(block).__name__ != "BasicTransformerBlock":
        return False
    odd = ("ff_in", "disable_self_attn", "switch_temporal_ca_to_sa")
    attentions = [getattr(block, name, None) for name in ("attn1", "attn2")]
    norms = [getattr(block, name, None) for name in ("norm1", "norm2", "norm3")]
    return (
        not any(getattr(block, name, False) for name in odd)
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


def _norm_and_silu(name: str, module: nn.Sequential, inside: _Inside) -> list[Replacement]:
    """The beginning of a resnet's halves, and of the way out: the norm takes the activation along."""
    norm, silu = (*module, None, None)[:2]
    if not isinstance(norm, nn.GroupNorm) or not isinstance(silu, nn.SiLU):
        return []
    weights, elementwise = inside.weights, inside.elementwise
    return [
        Replacement(f"{name}.0", norm, lambda x: norm_silu(x, norm, weights, elementwise)),
        Replacement(f"{name}.1", silu, _same),
    ]


def _transformer(name: str, block: Any, inside: _Inside) -> list[Replacement]:
    """Each norm becomes part of the layers behind it."""
    parts = (
        ("attn1", "norm1", _self_attention(block.attn1, block.norm1, inside)),
        ("attn2", "norm2", _cross_attention(block.attn2, block.norm2, inside)),
        ("ff", "norm3", _feed_forward(block.ff, block.norm3, inside)),
    )
    found = []
    for part, norm, compact in parts:
        module, before = getattr(block, part), getattr(block, norm)
        found.append(Replacement(f"{name}.{norm}", before, _same))
        forward = inside.unless_plain(compact, module, before)
        found.append(Replacement(f"{name}.{part}", module, forward))
    return found


def _same(x: Tensor) -> Tensor:
    return x


def _self_attention(attention: Any, norm: nn.LayerNorm, inside: _Inside) -> Forward:
    layers = inside.layers(attention.to_q, attention.to_k, attention.to_v)
    out, weights = inside.layers(attention.to_out[0]), inside.weights

    def forward(x: Tensor, *_: Any, **__: Any) -> Tensor:
        q, k, v = linears(x, layers, weights, norm)
        return _attended(q, k, v, attention.heads, out, weights)

    return forward


def _cross_attention(attention: Any, norm: nn.LayerNorm, inside: _Inside) -> Forward:
    query, pair = inside.layers(attention.to_q), inside.layers(attention.to_k, attention.to_v)
    out, weights = inside.layers(attention.to_out[0]), inside.weights

    def forward(x: Tensor, context: Tensor, *_: Any, **__: Any) -> Tensor:
        (q,) = linears(x, query, weights, norm)
        k, v = linears(context, pair, weights)
        return _attended(q, k, v, attention.heads, out, weights)

    return forward


def _attended(
    q: Tensor, k: Tensor, v: Tensor, heads: int, out: Sequence[Layer], weights: Weights
) -> Tensor:
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    return linears(mixed, out, weights)[0]


def _feed_forward(ff: Any, norm: nn.LayerNorm, inside: _Inside) -> Forward:
    inner, (outer,) = inside.layers(ff.net[0].proj), inside.layers(ff.net[2])

    def forward(x: Tensor) -> Tensor:
        (both,) = linears(x, inner, inside.weights, norm)
        return geglu_linear(both, outer, inside.weights, inside.elementwise)

    return forward
