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

WEIGHT_AND_GRADIENT = 8
"""Bytes of each parameter, float32."""
AVERAGE = 4
"""Bytes that a moving average adds to each."""
IN_ONE, FUSED_IN_ONE, ONE_BY_ONE = 12, 4, 4
"""Bytes for each that come on top while an optimiser steps: what it computes with, where it has all of them
in one buffer, or what is moved there in the first step of a continued run; what a schedule-free one moves."""


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
    shapes = Counter(tuple(parameter.shape) for parameter in parameters)
    states = _state_bytes(config, list(shapes), device or parameters[0].device)
    begun = in_blocks if is_blockwise(config.type) else int
    each = WEIGHT_AND_GRADIENT // 2 if at_once else WEIGHT_AND_GRADIENT
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

    With ``at_once`` they are there with activations (see `reserve_bytes`), and this is nothing.
    """
    if at_once:
        return 0
    of_each = ONE_BY_ONE
    if config.type in ELEMENTWISE:
        of_each = FUSED_IN_ONE if on_cuda and config.type in FUSED else IN_ONE
    return of_each * sum(parameter.numel() for parameter in parameters)


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
