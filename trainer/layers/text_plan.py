"""The attachment plan of the text encoders."""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn

from ..frozen.forward import Forward
from ..frozen.weights import Weights
from ..network.network import Network
from .attach import Replacement, leaf_plan


def text_plan(encoder: nn.Module, network: Network, weights: Weights) -> list[Replacement]:
    """``leaf_plan`` for a text encoder, whose layers write into the tensor that their norms were given.

    So the norms compute with a copy, or autograd would find what it saved overwritten.
    """
    return [
        dataclasses.replace(step, forward=_of_a_copy(step.forward))
        if isinstance(step.module, nn.LayerNorm)
        else step
        for step in leaf_plan(encoder, network, weights)
    ]


def _of_a_copy(forward: Forward) -> Forward:
    def run(x: Tensor) -> Tensor:
        return forward(x.clone())

    return run
