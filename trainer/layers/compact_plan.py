"""Which layers of an SDXL UNet are replaced by compact ones, and by which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from ..device.attending import attend
from ..frozen.forward import is_linear
from ..frozen.weights import Weights
from ..network.adapters import Adapter, Lora
from ..network.network import Network
from .attach import Replacement, leaf_plan
from .checkpointing import checkpointed
from .compact import Layer, feed_forward, geglu_linear, linears, norm_silu
from .compact_conv import convolution
from .elementwise import EAGER, Elementwise
from .recompute import Again, Block

Forward = Callable[..., Tensor]


def compact_plan(
    unet: nn.Module,
    network: Network,
    weights: Weights,
    levels: Mapping[Block, Again] | None = None,
    elementwise: Elementwise = EAGER,
) -> list[Replacement]:
    """The leaf plan, and over it compact transformer blocks and norms wherever they are recognised.

    Compact are blocks as SDXL has them whose adapters are plain LoRA, and only while nothing is
    dropped and the adapters have their whole strength; else they compute layer by layer. levels:
    what each block computes again, as far as compact layers do it; elementwise: what computes between
    their matrix products.
    """
    again = {block.name: level for block, level in (levels or {}).items()}
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
            plan += _transformer(name, module, inside, again.get(name, Again.NOTHING))
        elif isinstance(module, nn.Sequential):
            plan += _norm_and_silu(name, module, inside)
    taken = {step.module for step in plan}
    rest = [leaf for leaf in leaves if leaf.module not in taken]
    return [*(_convolution(leaf.name, leaf.module, inside) or leaf for leaf in rest), *plan]


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
        return [Layer(module, a if type(a) is Lora else None) for module, a in pairs]

    def activated(self, norm: nn.GroupNorm) -> Forward:
        """The norm with SiLU behind it."""
        return lambda x: norm_silu(x, norm, self.weights, self.elementwise)

    def unless_plain(self, compact: Forward, own: Forward, normed: Forward) -> Forward:
        """The compact forward where it holds, else the module's own behind its norm."""
        network = self.network

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
    """The beginning of a resnet's halves, and of the way out: the norm takes the activation along.

    Where the convolution behind them is adapted, it takes both.
    """
    norm, silu = (*module, None, None)[:2]
    if not isinstance(norm, nn.GroupNorm) or not isinstance(silu, nn.SiLU):
        return []
    last = len(module) - 1
    conv = _convolution(f"{name}.{last}", module[last], inside, norm)
    return [
        Replacement(f"{name}.0", norm, _same if conv else inside.activated(norm)),
        Replacement(f"{name}.1", silu, _same),
        *([conv] if conv else []),
    ]


def _convolution(
    name: str, module: nn.Module, inside: _Inside, norm: nn.GroupNorm | None = None
) -> Replacement | None:
    """A convolution with a plain LoRA, and norm and SiLU before it; None for whatever else."""
    (layer,), weights = inside.layers(module), inside.weights
    if not isinstance(module, nn.Conv2d) or module.groups > 1 or layer.adapter is None:
        return None
    forward = inside.unless_plain(
        lambda x: convolution(x, layer, weights, norm, inside.elementwise),
        inside.leaves[module],
        _same if norm is None else inside.activated(norm),
    )
    return Replacement(name, module, forward)


def _transformer(name: str, block: Any, inside: _Inside, level: Again) -> list[Replacement]:
    """Each norm becomes part of the layers behind it."""
    middle = level in (Again.FEED_FORWARD, Again.PROJECTIONS)
    projections = level is Again.PROJECTIONS
    parts = (
        ("attn1", "norm1", _self_attention(block.attn1, block.norm1, inside, projections)),
        ("attn2", "norm2", _cross_attention(block.attn2, block.norm2, inside, projections)),
        ("ff", "norm3", _feed_forward(block.ff, block.norm3, inside, middle)),
    )
    found = []
    for part, norm, compact in parts:
        module, before = getattr(block, part), getattr(block, norm)
        found.append(Replacement(f"{name}.{norm}", before, _same))
        forward = inside.unless_plain(compact, module.forward, inside.leaves[before])
        found.append(Replacement(f"{name}.{part}", module, forward))
    return found


def _same(x: Tensor) -> Tensor:
    return x


def _self_attention(attention: Any, norm: nn.LayerNorm, inside: _Inside, again: bool) -> Forward:
    layers = inside.layers(attention.to_q, attention.to_k, attention.to_v)
    out, weights = inside.layers(attention.to_out[0]), inside.weights

    def mixed(x: Tensor) -> Tensor:
        q, k, v = linears(x, layers, weights, norm)
        return attend(q, k, v, attention.heads)

    mixed = checkpointed(mixed, attention=False) if again else mixed
    return lambda x, *_, **__: linears(mixed(x), out, weights)[0]


def _cross_attention(attention: Any, norm: nn.LayerNorm, inside: _Inside, again: bool) -> Forward:
    query, pair = inside.layers(attention.to_q), inside.layers(attention.to_k, attention.to_v)
    out, weights = inside.layers(attention.to_out[0]), inside.weights

    def mixed(x: Tensor, context: Tensor) -> Tensor:
        (q,) = linears(x, query, weights, norm)
        k, v = linears(context, pair, weights)
        return attend(q, k, v, attention.heads)

    mixed = checkpointed(mixed, attention=False) if again else mixed
    return lambda x, context, *_, **__: linears(mixed(x, context), out, weights)[0]


def _feed_forward(ff: Any, norm: nn.LayerNorm, inside: _Inside, again: bool) -> Forward:
    inner, (outer,) = inside.layers(ff.net[0].proj), inside.layers(ff.net[2])

    def forward(x: Tensor) -> Tensor:
        if again:
            return feed_forward(x, norm, inner[0], outer, inside.weights, inside.elementwise)
        (both,) = linears(x, inner, inside.weights, norm)
        return geglu_linear(both, outer, inside.weights, inside.elementwise)

    return forward
