"""Bytes of what learns: adapters, their gradients, and what the optimiser keeps, found by trying it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..config.optimiser import OptimiserConfig
from ..config.optimiser_factory import make_optimiser
from ..config.optimisers import ELEMENTWISE, FUSED, is_blockwise
from ..optim.blocks import in_blocks

AVERAGE = 4
"""Bytes that a moving average adds to each."""
IN_ONE, FUSED_IN_ONE, ONE_BY_ONE = 12, 4, 4
"""Bytes for each that come on top while an optimiser steps: what it computes with, where it has all of them
in one buffer, or what is moved there in the first step of a continued run; what a schedule-free one moves."""
ONE_WIDENED = 20
"""Bytes for each number of the largest parameter while one in bf16 is stepped in float32."""


def learned_bytes(
    config: OptimiserConfig,
    parameters: Sequence[nn.Parameter],
    device: torch.device | None = None,
    *,
    at_once: bool = False,
) -> int:
    """Bytes of the parameters, their gradients, the optimiser's state and a moving average.

    device: where they are trained, unless that is where they lie. at_once: each is stepped within backward, so
    that only the largest has a gradient.

    Raises ValueError where the optimiser is not available.
    """
    narrow = _are_narrow(parameters)
    shapes = Counter(tuple(parameter.shape) for parameter in parameters)
    states = _state_bytes(config, list(shapes), device or parameters[0].device)
    begun = in_blocks if is_blockwise(config.type) and not narrow else int
    each = (2 if narrow else 4) * (1 if at_once else 2)  # weight and gradient
    total = largest_bytes(parameters) if at_once else 0
    for shape, times in shapes.items():
        count = math.prod(shape)
        room = begun(count)
        own = room * each + math.ceil(states[shape] * room / count)
        total += times * (own + (AVERAGE * count if config.ema_decay else 0))
    return total


def update_bytes(
    config: OptimiserConfig,
    parameters: Sequence[nn.Parameter],
    *,
    on_cuda: bool,
    at_once: bool = False,
) -> int:
    """Bytes beside `learned_bytes` while the optimiser steps, when no activations are left.

    With ``at_once`` they are there with activations (see `reserve_bytes`), and this is nothing. Weights in
    bf16 are stepped one by one.
    """
    if at_once:
        return 0
    if _are_narrow(parameters):
        return ONE_WIDENED * max(parameter.numel() for parameter in parameters)
    of_each = ONE_BY_ONE
    if config.type in ELEMENTWISE:
        of_each = FUSED_IN_ONE if on_cuda and config.type in FUSED else IN_ONE
    return of_each * sum(parameter.numel() for parameter in parameters)


def _are_narrow(parameters: Sequence[nn.Parameter]) -> bool:
    """Whether they are in bf16: an embedding beside them, which is not, does not count."""
    return any(parameter.dtype == torch.bfloat16 for parameter in parameters)


def largest_bytes(parameters: Sequence[nn.Parameter]) -> int:
    """Of the largest parameter's gradient, float32."""
    return 4 * max(parameter.numel() for parameter in parameters)


def _state_bytes(
    config: OptimiserConfig, shapes: Sequence[tuple[int, ...]], device: torch.device
) -> dict[tuple[int, ...], int]:
    """What an optimiser keeps of one parameter of each shape after a step."""
    parameters = [nn.Parameter(torch.full(shape, 0.1, device=device)) for shape in shapes]
    groups = [{"params": parameters, "lr": config.learning_rate}]
    optimiser = make_optimiser(
        config.type, groups, config.learning_rate, config.constructor_arguments(), device
    )
    getattr(optimiser, "train", lambda: None)()  # schedule-free
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 0.1)
    optimiser.step()
    return {
        shape: sum(
            leaf.nbytes
            for leaf in tree_leaves(optimiser.state[parameter])
            if isinstance(leaf, Tensor) and leaf.dim()
        )
        for shape, parameter in zip(shapes, parameters, strict=True)
    }
