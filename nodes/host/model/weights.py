"""The weights of a model that ComfyUI owns: held or borrowed, never copied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import comfy.ops
import torch
from torch import Tensor, nn

from ....trainer.frozen.weights import Stored, WeightPair, as_they_are
from ....trainer.training.non_finite import not_finite

Fetched = tuple[Tensor, "Tensor | None", Any]


class ComfyWeights:
    """trainer.weights.Storage over ComfyUI's operations.

    Whatever ComfyUI does to a layer in inference (streaming from RAM, dynamic VRAM, LoRA patches
    applied on the fly, fp8 and quantised storage) happens here through its own
    `cast_bias_weight`, so training sees the weights that sampling sees.
    """

    def __init__(self) -> None:
        self._held: dict[nn.Module, _Held] = {}

    @contextmanager
    def hold(self, modules: Iterable[nn.Module]) -> Iterator[int]:
        self._held = {m: _Held(m) for m in modules if _is_plain(m)}
        try:
            yield len(self._held)
        finally:
            self._held = {}

    def borrow(
        self, module: nn.Module, dtype: torch.dtype, device: torch.device
    ) -> AbstractContextManager[WeightPair]:
        held = self._held.get(module)  # thousands of times a step: no generator for what is held
        if held is not None and held.lies_ready(dtype, device):
            return held
        return _lent(module, dtype, device)

    def stored(self, module: nn.Module) -> Stored | None:
        if not _is_plain(module) or _is_patched(module) or module.weight.is_meta:
            return None
        weight, bias = _own(module)
        return Stored((weight,) if bias is None else (weight, bias), as_they_are)


class _Held(AbstractContextManager[WeightPair]):
    """A layer whose weight is held; the context in which it is lent, at any time and to any number."""

    def __init__(self, module: nn.Module) -> None:
        self._module, self._pair = module, _own(module)

    def __enter__(self) -> WeightPair:
        return self._pair

    def __exit__(self, *_: object) -> None:
        pass

    def lies_ready(self, dtype: torch.dtype, device: torch.device) -> bool:
        """Whether the weight is still the layer's own, in place and needs no cast."""
        module, weight = self._module, self._pair[0]
        return (
            module._parameters.get("weight") is weight  # past nn.Module's detours
            and weight.dtype is dtype
            and weight.device == device
            and not _is_patched(module)
        )


@contextmanager
def _lent(module: nn.Module, dtype: torch.dtype, device: torch.device) -> Iterator[WeightPair]:
    weight, bias, stream = _fetch(module, dtype, device)
    try:
        yield weight, bias
    finally:
        _release(module, weight, bias, stream)


def damaged_weights(
    models: Iterable[tuple[str, nn.Module]], dtype: torch.dtype, device: torch.device
) -> list[str]:
    """Names of the weights that are not finite as they are computed with; reads all, one by one.

    models: what stands before the paths of a model, and the model.
    """
    with torch.no_grad():
        return not_finite(
            pair for name, model in models for pair in _effective(name, model, dtype, device)
        )


def _effective(
    name: str, model: nn.Module, dtype: torch.dtype, device: torch.device
) -> Iterator[tuple[str, Tensor]]:
    """Weights and biases by path, those of ComfyUI's layers as it gives them to a step."""
    for path, module in model.named_modules():
        if getattr(module, "weight", None) is None or not hasattr(module, "weight_function"):
            yield from (
                (f"{name}{path}.{own}", p) for own, p in module.named_parameters(recurse=False)
            )
            continue
        weight, bias, stream = _fetch(module, dtype, device)
        yield f"{name}{path}.weight", weight
        if bias is not None:
            yield f"{name}{path}.bias", bias
        _release(module, weight, bias, stream)


def _is_plain(module: nn.Module) -> bool:
    """Whether the stored weight is what the layer computes with: no patch, paging or scale."""
    weight = getattr(module, "weight", None)
    return (
        type(weight) is nn.Parameter
        and not hasattr(module, "_v")
        and getattr(module, "scale_weight", None) is None
    )


def _own(module: nn.Module) -> WeightPair:
    """Weight and bias as they are stored; torch's types let any attribute be a module."""
    weight: Any = module.weight
    bias: Any = module.bias
    return weight, bias


def _is_patched(module: nn.Module) -> bool:
    """Whether ComfyUI adds something to the stored weight or bias at every use."""
    return bool(getattr(module, "weight_function", ()) or getattr(module, "bias_function", ()))


def _fetch(module: nn.Module, dtype: torch.dtype, device: torch.device) -> Fetched:
    """The effective weight and bias by ComfyUI's own means, and what `_release` needs."""
    asked = {"dtype": dtype, "device": device, "bias_dtype": dtype}
    own = getattr(module, "cast_bias_weight", None)
    if own is not None:
        weight, bias = own(**asked)
        stream = None
    elif hasattr(comfy.ops, "uncast_bias_weight"):
        weight, bias, stream = comfy.ops.cast_bias_weight(module, **asked, offloadable=True)
    else:  # up to 0.3.x
        weight, bias = comfy.ops.cast_bias_weight(module, **asked)
        stream = None
    if hasattr(weight, "dequantize") and type(weight) not in (Tensor, nn.Parameter):
        weight = weight.dequantize().to(dtype)
    if getattr(module, "scale_weight", None) is not None:
        convert: Any = module.convert_weight  # of ComfyUI's own layers
        weight = convert(weight)
    return weight, bias, stream


def _release(module: nn.Module, weight: Tensor, bias: Tensor | None, stream: Any) -> None:
    if stream is not None:
        comfy.ops.uncast_bias_weight(module, weight, bias, stream)
