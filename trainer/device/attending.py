"""Attention as a training step computes it: by PyTorch, and by which of its ways."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

_NAMES = ("FLASH_ATTENTION", "EFFICIENT_ATTENTION", "MATH", "OVERRIDEABLE")
ORDER = [getattr(SDPBackend, name) for name in _NAMES if hasattr(SDPBackend, name)]
"""The first of these that a device has for a shape computes it; the last is of devices with ways of their own.

Never cuDNN's, which ComfyUI prefers for sampling: its backward can give NaN
(pytorch/pytorch#196678), and the memory plan does not know what it needs.
"""
_BY_PRIORITY = {"set_priority": True}
if "set_priority" not in inspect.signature(sdpa_kernel).parameters:
    _BY_PRIORITY = {}  # before PyTorch 2.6 this order is fixed

_HEADS, _WIDTH, _TOKENS, _TEXT_TOKENS = 10, 64, 4096, 77
"""Of attention in SDXL's widest blocks; smaller ones differ in nothing that decides."""
_ASKED = ("cpu", "cuda", "xpu")
"""Devices whose choice PyTorch tells; on others it may keep what single operations compute."""


@contextmanager
def fixed_order() -> Iterator[None]:
    """Attention by ``ORDER``, in all threads of the process; then as before.

    Forward and backward belong into the same one: blocks that are computed again choose again.
    """
    with sdpa_kernel(ORDER, **_BY_PRIORITY):
        yield


def is_fused(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a step computes SDXL's attention there, to the image and to texts, without keeping all scores."""
    if device.type not in _ASKED:
        return False
    image, text = (_heads(device, dtype, tokens) for tokens in (_TOKENS, _TEXT_TOKENS))
    try:
        with fixed_order():
            choices = [
                torch.ops.aten._fused_sdp_choice(image, keys, keys) for keys in (image, text)
            ]
    except NotImplementedError:  # Intel's, of an older PyTorch
        return False
    return SDPBackend.MATH.value not in choices


def _heads(device: torch.device, dtype: torch.dtype, tokens: int) -> Tensor:
    """Queries, keys or values as a block makes them: [1, heads, tokens, width]."""
    x = torch.empty((1, tokens, _HEADS * _WIDTH), dtype=dtype, device=device, requires_grad=True)
    return x.unflatten(-1, (_HEADS, _WIDTH)).transpose(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Attention over tokens, [B, T, C] from q [B, T, C] and k, v [B, S, C], with a backward on every device.

    mask: added to the scores, as it can be broadcast to [B, heads, T, S].
    """
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2)
