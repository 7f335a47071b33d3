"""Weights in bf16, which has 8 bits for a number: they are stepped in float32 and rounded at random.

A step that is smaller than half of a last place is lost by rounding to the nearest. Rounded up as often as
it is far on the way up, it is kept on average (Gupta et al. 2015; kohya's `full_bf16` with Adafactor).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..rng import generator

_BELOW = 16
"""Bits of a float32 that bf16 does not have."""


class Rounding:
    """Draws by (seed, step, number of the parameter), so that a run goes on to the bit."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.done = 0
        """Steps before this one."""

    @contextmanager
    def widened(self, parameter: nn.Parameter, number: int) -> Iterator[None]:
        """While open, a bf16 parameter and its gradient are float32; then it is rounded, and the gradient is
        gone. Any other parameter stays as it is, with its gradient."""
        if parameter.dtype != torch.bfloat16:
            yield
            return
        narrow, gradient = parameter.data, parameter.grad
        parameter.grad = None  # it must have the dtype of its parameter at any time
        parameter.data = narrow.float()
        try:
            parameter.grad = None if gradient is None else gradient.float()
            del gradient
            yield
            bits = random_bits(narrow, self._seed, self.done, number)
            narrow.copy_(rounded(parameter.data, bits))
        finally:
            parameter.grad = None
            parameter.data = narrow


def random_bits(like: Tensor, seed: int, step: int, number: int) -> Tensor:
    """16 random bits for each number, as int16, where it lies."""
    bits = torch.empty(like.shape, dtype=torch.int16, device=like.device)
    rng = generator(seed, "rounding", step, number, device=like.device)
    return bits.random_(-(1 << (_BELOW - 1)), 1 << (_BELOW - 1), generator=rng)


def rounded(values: Tensor, bits: Tensor) -> Tensor:
    """float32 numbers as one of their two neighbours in bf16, by int16 bits; overwrites them.

    The further one is taken with the probability of how far the number is on its way there, and a number
    that bf16 has stays.
    """
    assert values.dtype == torch.float32
    whole = values.view(torch.int32)
    whole.add_(bits).add_(1 << (_BELOW - 1)).bitwise_and_(-(1 << _BELOW))
    return values
