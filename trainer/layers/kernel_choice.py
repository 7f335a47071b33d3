"""Whether Triton computes what lies between the matrix products, or PyTorch: decided once, before a run."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from .elementwise import EAGER, Elementwise

log = logging.getLogger(__name__)

TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""How far the kernels may be from float32 arithmetic, absolute and relative; wrong ones are far off."""


def choose_elementwise(device: torch.device, dtype: torch.dtype, *, triton: bool) -> Elementwise:
    """Triton's functions if they are wanted and right on this device, else PyTorch's.

    The log says which, in one line. Every kernel is built and tried here, so that what cannot work
    does not stop a run later.
    """
    if not triton:
        return EAGER
    try:
        found = _built(device, dtype)
    except Exception as error:  # noqa: BLE001 - compilers fail in many ways; none may cost the run
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        log.warning("LoRA Loop: no Triton kernels, PyTorch computes instead: %s", reason)
        return EAGER
    log.info("LoRA Loop: Triton kernels compute between the matrix products.")
    return found


def _built(device: torch.device, dtype: torch.dtype) -> Elementwise:
    """The kernels, built and checked; raises where they are not available."""
    if device.type != "cuda":
        raise RuntimeError(f"they need an NVIDIA or AMD GPU, and the model is on {device.type}")
    try:
        from .kernels import TRITON
    except ImportError as error:
        raise RuntimeError(
            f"Triton is not installed ({error}); on Windows it is the package triton-windows"
        ) from error
    check(TRITON, device, dtype)
    return TRITON


def check(found: Elementwise, device: torch.device, dtype: torch.dtype) -> None:
    """Raise RuntimeError where the functions do not give what PyTorch gives in float32."""
    expected, bound = _example(EAGER, device, torch.float32), TOLERANCE[dtype]
    for ours, theirs in zip(_example(found, device, dtype), expected, strict=True):
        if not torch.allclose(ours.float(), theirs, rtol=bound, atol=bound):
            raise RuntimeError("they do not agree with PyTorch on this device")


def _example(elementwise: Elementwise, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """What every function makes of the same small numbers: more than a block, and in multiples of 16."""
    rng = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng).bfloat16().to(device, dtype)

    both, inner = draw(3, 2 * 1040), draw(3, 1040)
    x, grad, weight, bias = draw(1, 16, 32, 34), draw(1, 16, 32, 34), draw(16), draw(16)
    normed, *statistics = elementwise.norm_silu(x, weight, bias, 4, 1e-5)
    return [
        elementwise.geglu(both),
        *elementwise.geglu_backward(inner, both),
        normed,
        elementwise.norm_silu_backward(grad, x, weight, bias, tuple(statistics), 4, 1e-5),
    ]
