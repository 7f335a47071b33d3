"""SDXL's transformer block with little kept for backward, and few operations.

    x = x + O1 attention(Q1 n, K1 n, V1 n)      n = norm1(x)
    x = x + O2 attention(Q2 n, K2 c, V2 c)      n = norm2(x), c is the context
    x = x + F2 (value * gelu(gate))             value, gate = F1 norm3(x)

Every capital is a linear layer, with a LoRA or without (see trainer/layers/joint.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from ..network.adapters import Lora
from .checkpointing import checkpointed
from .compact_nodes import Part, close, feed_forward, project
from .context_products import ContextProducts
from .joint import Joint
from .recompute import Again


class BlockJoints(NamedTuple):
    """The linear layers of a block, those together that read the same, in the order of the forward."""

    of_self: Joint
    """Q1, K1, V1."""
    out1: Joint
    query: Joint
    """Q2."""
    of_context: Joint
    """K2, V2."""
    out2: Joint
    inner: Joint
    """F1, [2 n, C]."""
    outer: Joint
    """F2, [C, n]."""


def joints_of(block: Any, lora: Callable[[nn.Module], Lora | None]) -> BlockJoints:
    """The layers of ComfyUI's block; lora: the adapter of a layer, if it has one."""

    def joint(*modules: nn.Module) -> Joint:
        return Joint(modules, [lora(module) for module in modules])

    first, second, middle = block.attn1, block.attn2, block.ff.net
    return BlockJoints(
        joint(first.to_q, first.to_k, first.to_v),
        joint(first.to_out[0]),
        joint(second.to_q),
        joint(second.to_k, second.to_v),
        joint(second.to_out[0]),
        joint(middle[0].proj),
        joint(middle[2]),
    )


def block_forward(
    block: Any,
    joints: BlockJoints,
    part: Part,
    products: ContextProducts,
    level: Again,
    *,
    gives: bool = True,
) -> Callable[..., Tensor]:
    """The forward of ComfyUI's block for x [B, T, C] and a context [B, S, D].

    level: what it computes again; gives: False where only what it keeps for backward is wanted.
    """

    def of_self(x: Tensor) -> Tensor:
        q, k, v = project(x, block.norm1, joints.of_self, part, begins=part.begins)
        return F.scaled_dot_product_attention(q, k, v)

    def of_context(x: Tensor, context: Tensor) -> Tensor:
        share = products.share(context, joints.of_context, anew=gives)
        q, k, v = project(x, block.norm2, joints.query, part, context, joints.of_context, share)
        return F.scaled_dot_product_attention(q, k, v)

    if level is Again.PROJECTIONS:
        of_self = checkpointed(of_self, attention=False)
        of_context = checkpointed(of_context, attention=False)
    again = level in (Again.FEED_FORWARD, Again.PROJECTIONS)

    def forward(x: Tensor, context: Tensor, **_: Any) -> Tensor:
        x = close(of_self(x), joints.out1, part, x)
        x = close(of_context(x, context), joints.out2, part, x)
        return feed_forward(
            x, block.norm3, joints.inner, joints.outer, part, again=again, gives=gives
        )

    return forward
