"""Frozen linear layers kept in 8 bits: a way to store them, not to compute with them.

Symmetric with one scale for each output row, the largest magnitude of the row being the largest code:
for int8 as in Krishnamoorthi 2018 (arXiv:1806.08342, section 3), for fp8 in the E4M3 format of
Micikevicius et al. 2022 (arXiv:2209.05433). Each use restores the weight in the dtype of computation,
in forward and backward alike, so both see the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .forward import is_linear
from .weights import Storage, Stored, WeightPair, as_they_are

Format = Literal["int8", "fp8"]

LARGEST = {"int8": 127.0, "fp8": 448.0}
"""The largest code of a format."""


def code_dtype(name: Format) -> torch.dtype | None:
    """What the codes are stored in; None where this torch has no such type."""
    return torch.int8 if name == "int8" else getattr(torch, "float8_e4m3fn", None)


def quantise(weight: Tensor, name: Format) -> tuple[Tensor, Tensor]:
    """Codes [out, in] in 8 bits and scale [out, 1] float32 of a weight [out, in] float32."""
    dtype, largest = code_dtype(name), LARGEST[name]
    assert dtype is not None
    scale = weight.abs().amax(1, keepdim=True) / largest
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    codes = (weight / scale).clamp_(-largest, largest)
    return (codes.round_() if name == "int8" else codes).to(dtype), scale


def dequantise(tensors: Sequence[Tensor], dtype: torch.dtype) -> WeightPair:
    """``Stored.restore`` of codes, scale and, if there is one, a bias: rounded to ``dtype`` once."""
    codes, scale, *bias = tensors
    return codes.to(dtype).mul_(scale), bias[0].to(dtype) if bias else None


def kept_bytes(module: nn.Module, name: Format | Literal["as loaded"]) -> int:
    """Bytes of a layer when its weight, if it is linear, is kept so."""
    if name == "as loaded" or not is_linear(module):
        return sum(p.nbytes for p in module.parameters(recurse=False))
    weight: Any = module.weight
    rows = len(weight)
    return weight.numel() + 4 * rows * (1 if module.bias is None else 2)


class Quantised:
    """Weights of which linear layers are kept in 8 bits while they are held, and the owner's not used.

    ``resident``: all of ``modules`` is kept on ``device``, what is not linear as it is in ``dtype``,
    that of the computation; else codes are kept in RAM, and what is not linear where it was.
    """

    def __init__(
        self,
        inner: Storage,
        modules: Iterable[nn.Module],
        name: Format,
        device: torch.device,
        dtype: torch.dtype,
        *,
        resident: bool,
    ) -> None:
        self._inner, self._resident = inner, resident
        self._name: Format = name
        self._device, self._dtype = device, dtype
        self._modules = [module for module in modules if resident or is_linear(module)]
        self._kept: dict[nn.Module, Stored] = {}

    @contextmanager
    def hold(self, modules: Iterable[nn.Module]) -> Iterator[int]:
        own = set(self._modules)
        others = [module for module in modules if module not in own]
        with self._inner.hold(others) as count:
            try:
                self._kept = {module: self._keep(module) for module in self._modules}
                yield count + len(self._kept)
            finally:
                self._kept = {}

    @contextmanager
    def borrow(
        self, module: nn.Module, dtype: torch.dtype, device: torch.device
    ) -> Iterator[WeightPair]:
        kept = self._kept.get(module)
        if kept is None:
            with self._inner.borrow(module, dtype, device) as pair:
                yield pair
        else:
            yield kept.restore([tensor.to(device) for tensor in kept.tensors], dtype)

    def stored(self, module: nn.Module) -> Stored | None:
        return self._kept.get(module) or self._inner.stored(module)

    @torch.no_grad()
    def _keep(self, module: nn.Module) -> Stored:
        """A layer's effective weight, patches and all, as it is kept from now on."""
        if not is_linear(module):
            with self._inner.borrow(module, self._dtype, self._device) as pair:
                return Stored(tuple(t.clone() for t in pair if t is not None), as_they_are)
        with self._inner.borrow(module, torch.float32, self._device) as (weight, bias):
            codes = quantise(weight, self._name)
            tensors = codes if bias is None else (*codes, bias.clone())
        place = self._device if self._resident else torch.device("cpu")
        return Stored(tuple(tensor.to(place) for tensor in tensors), dequantise)
