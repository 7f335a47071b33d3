"""Attention as a training step computes it: by PyTorch, and by which of its ways."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def fixed_order() -> Iterator[None]:
    """Attention by ``ORDER``, in all threads of the process; then as before.

    Forward and backward belong into the same one: blocks that are computed again choose again.
    """
    with sdpa_kernel(ORDER, **_BY_PRIORITY):
        yield


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Attention over tokens, [B, T, C] from q [B, T, C] and k, v [B, S, C], with a backward on every device.

    mask: added to the scores, as it can be broadcast to [B, heads, T, S].
    """
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2)
