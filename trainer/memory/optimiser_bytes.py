"""Bytes of what learns: adapters, their gradients, and what the optimiser keeps, found by trying it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..config.optimiser import OptimiserConfig
from ..optim.factory import make_optimiser

WEIGHT_AND_GRADIENT = 8
"""Bytes of each parameter, float32."""
AVERAGE = 4
"""Bytes that a moving average adds to each."""


def learned_bytes(
    config: OptimiserConfig,
    parameters: Sequence[nn.Parameter],
    device: torch.device | None = None,
) -> int:
    """Bytes of the parameters, their gradients, the optimiser's state and a moving average.

    device: where they are trained, unless that is where they lie.

    Raises ValueError where the optimiser is not available.
    """
    shapes = Counter(tuple(parameter.shape) for parameter in parameters)
    count = sum(parameter.numel() for parameter in parameters)
    of_each = WEIGHT_AND_GRADIENT + (AVERAGE if config.ema_decay else 0)
    states = _state_bytes(config, list(shapes), device or parameters[0].device)
    return count * of_each + sum(states[shape] * times for shape, times in shapes.items())


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
            if isinstance(leaf, Tensor) and leaf.numel() > 1
        )
        for shape, parameter in zip(shapes, parameters, strict=True)
    }
