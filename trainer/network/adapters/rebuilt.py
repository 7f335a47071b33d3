"""Adapters by LyCORIS' maths (Yeh et al. 2024) that keep nothing for backward but their input.

What lies between input and output can be as large as the layer's own weight or output, so it is made
again in backward.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .base import Additive

PACKAGE = "lycoris-lora"


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Callable[[Tensor], Any], x: Tensor, *factors: Tensor) -> Any:
        ctx.function = function
        ctx.save_for_backward(x, *factors)
        return function(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, *factors = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_(ctx.needs_input_grad[1])
            outputs = ctx.function(x)
        asked = [x, *factors] if x.requires_grad else factors
        found = torch.autograd.grad(outputs, asked, grads)
        return None, *([] if x.requires_grad else [None]), *found


def recomputed(function: Callable[[Tensor], Any], x: Tensor, factors: Iterable[Tensor]) -> Any:
    """``function(x)``, a tensor or a tuple of some, made again in backward.

    factors: the parameters that ``function`` uses; all of them get a gradient.
    """
    return _Recomputed.apply(function, x, *factors)


class Rebuilt(Additive):
    """A kind whose factors only together say what is added: there are no ranks in the middle to drop.

    Rank dropout leaves out channels of what is added instead, as LyCORIS does.
    """

    def forward(self, x: Tensor) -> Tensor:
        return recomputed(self.with_dropout_of_now(self.plain), x, self.factors().values())

    def factors(self) -> dict[str, nn.Parameter]:
        return dict(self.named_parameters())


def lycoris(kind: str) -> Any:
    """The module ``lycoris.functional.<kind>``, asked for by name so that nobody else needs the package.

    Raises:
        ValueError: the package is absent or too old; says what to do.
    """
    try:
        module = importlib.import_module(f"lycoris.functional.{kind}")
        if "backend" not in inspect.signature(module.diff_weight).parameters:
            raise ImportError("a version below 4")
    except ImportError as error:
        raise ValueError(
            f"The algorithm {kind} needs the package {PACKAGE} 4 or later, which does not load here "
            f"({error}). Install it into ComfyUI's Python (pip install {PACKAGE}) or choose lora."
        ) from error
    return module
