"""Which parts of an SDXL UNet are replaced by compact ones, and by which."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from ..frozen.forward import is_linear
from ..frozen.weights import Weights
from ..network.adapters import Adapter, Lora
from ..network.network import Network
from .attach import Replacement, leaf_plan
from .compact_block import BlockJoints, block_forward, joints_of
from .compact_conv import convolution
from .compact_nodes import Part, close
from .compact_norm import group_norm, norm_silu
from .context_products import ContextProducts
from .elementwise import EAGER, Elementwise
from .factors import Factors, Scratches
from .joint import Joint
from .recognise import is_patched, is_transformer
from .recompute import Again, Block

Forward = Callable[..., Tensor]
TOGETHER = 5
"""How many blocks read their factors at once: more take more memory, fewer more operations."""


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
        {},
    )
    blocks: dict[str, tuple[Any, BlockJoints]] = {
        name: (module, joints_of(module, inside.lora))
        for name, module in unet.named_modules()
        if is_transformer(module) and inside.is_plain(module)
    }
    products = ContextProducts([joints.of_context for _, joints in blocks.values()])
    plan = []
    parts = {name: part for run in _runs(list(blocks)) for name, part in inside.parts(run, blocks)}
    for name, (block, joints) in blocks.items():
        given = block, joints, parts[name], products, again.get(name, Again.NOTHING)
        forwards = (
            inside.unless_plain(block_forward(*given, gives=gives), block.forward)
            for gives in (True, False)
        )
        plan.append(Replacement(name, block, *forwards))
    for name, module in unet.named_modules():
        if isinstance(module, nn.Sequential):
            plan += _norm_and_silu(name, module, inside)
    taken = {step.module for step in plan}
    inner = {layer for block, _ in blocks.values() for layer in block.modules()}
    for leaf in leaves:
        if leaf.module not in taken:
            found = None if leaf.module in inner else _alone(leaf, inside)
            plan.append(found or leaf)
    return plan


def _runs(names: Sequence[str]) -> Iterator[list[str]]:
    """Blocks that read their factors together: some that follow each other within a transformer."""
    for _, group in itertools.groupby(names, key=lambda name: name.rpartition(".")[0]):
        run = list(group)
        yield from (run[start : start + TOGETHER] for start in range(0, len(run), TOGETHER))


class _Inside(NamedTuple):
    """What compact layers are made of."""

    adapters: dict[nn.Module, Adapter]
    leaves: dict[nn.Module, Forward]
    network: Network
    weights: Weights
    elementwise: Elementwise
    scratches: Scratches

    def is_plain(self, block: nn.Module) -> bool:
        """Whether every adapter in it is a plain LoRA."""
        found = (self.adapters.get(module) for module in block.modules())
        return all(type(adapter) is Lora for adapter in found if adapter is not None)

    def lora(self, module: nn.Module) -> Lora | None:
        """The plain LoRA of a layer, if it has one."""
        adapter = self.adapters.get(module)
        return adapter if isinstance(adapter, Lora) and type(adapter) is Lora else None

    def parts(
        self, run: Sequence[str], blocks: Mapping[str, tuple[Any, BlockJoints]]
    ) -> Iterator[tuple[str, Part]]:
        """The blocks of these names as parts that read their factors together."""
        joints = [blocks[name][1] for name in run]
        factors = Factors(joints, self.scratches, {each.of_context for each in joints})
        for name in run:
            where = {"begins": name == run[0], "ends": name == run[-1]}
            heads = blocks[name][0].attn1.heads
            yield name, Part(factors, self.weights, self.elementwise, heads, **where)

    def activated(self, norm: nn.GroupNorm) -> Forward:
        """The norm with SiLU behind it."""
        return lambda x: norm_silu(x, norm, self.weights, self.elementwise)

    def unless_plain(self, compact: Forward, own: Forward) -> Forward:
        """The compact forward where it holds, else the module's own."""
        network = self.network

        def forward(x: Tensor, *rest: Any, **options: Any) -> Tensor:
            is_plain = network.strength == 1.0 and network.dropout is None
            if is_plain and not is_patched(**options):
                return compact(x, *rest, **options)
            return own(x, *rest, **options)

        return forward


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
    adapter, weights = inside.lora(module), inside.weights
    if not isinstance(module, nn.Conv2d) or module.groups > 1 or adapter is None:
        return None
    leaf = inside.leaves[module]
    activated = None if norm is None else inside.activated(norm)
    forward = inside.unless_plain(
        lambda x: convolution(x, module, adapter, weights, norm, inside.elementwise),
        leaf if activated is None else lambda x: leaf(activated(x)),
    )
    return Replacement(name, module, forward)


def _alone(leaf: Replacement, inside: _Inside) -> Replacement | None:
    """A layer outside of blocks that has a plain LoRA, or a group norm; None for whatever else."""
    norm = leaf.module
    if isinstance(norm, nn.GroupNorm):
        return Replacement(leaf.name, norm, lambda x: group_norm(x, norm, inside.weights))
    adapter = inside.lora(leaf.module)
    if adapter is None or not is_linear(leaf.module):
        return _convolution(leaf.name, leaf.module, inside)
    joint = Joint([leaf.module], [adapter])
    factors = Factors([[joint]], inside.scratches)
    part = Part(factors, inside.weights, inside.elementwise)
    compact = inside.unless_plain(lambda x: close(x, joint, part, alone=True), leaf.forward)
    return Replacement(leaf.name, leaf.module, compact)


def _same(x: Tensor) -> Tensor:
    return x
