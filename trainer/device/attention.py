"""Whether a device computes attention, forward and backward, without keeping the scores of all tokens."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

HEADS, WIDTH, TOKENS, TEXT_TOKENS = 10, 64, 4096, 77
"""Of attention in SDXL's widest blocks; smaller ones differ in nothing that decides."""
ALLOWED = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""Of PyTorch's ways, those that training has a use for."""
ASKED = ("cpu", "cuda", "xpu")
"""Devices whose choice PyTorch tells; on others it computes attention to be learned from by single operations."""


def fused_attention(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether PyTorch has a kernel of its own for SDXL's attention there, to itself and to texts."""
    if device.type not in ASKED:
        return False
    image, text = (_heads(device, dtype, tokens) for tokens in (TOKENS, TEXT_TOKENS))
    try:
        with sdpa_kernel(ALLOWED):
            choices = [torch._fused_sdp_choice(image, keys, keys) for keys in (image, text)]
    except NotImplementedError:  # Intel's, of an older PyTorch
        return False
    return SDPBackend.MATH.value not in choices


def _heads(device: torch.device, dtype: torch.dtype, tokens: int) -> Tensor:
    """Queries, keys or values as a block makes them: [1, heads, tokens, width]."""
    x = torch.empty((1, tokens, HEADS * WIDTH), dtype=dtype, device=device, requires_grad=True)
    return x.unflatten(-1, (HEADS, WIDTH)).transpose(1, 2)
