"""Bytes that full-size SDXL keeps for backward, counted without computing: one picture, bfloat16.

`COMFYUI_PATH=... python bench/activations.py [--side 1024] [--rank 32]`. The model lies on PyTorch's
meta device, which has shapes and no numbers. Attention is counted as flash attention keeps it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from finding import import_comfyui

GIB = 1 << 30


def main() -> None:
    """Print a line for layer by layer and one for compact layers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=1024, help="pixels a side")
    parser.add_argument("--rank", type=int, default=32)
    options = parser.parse_args()
    import_comfyui()
    from pack.trainer.attach import leaf_plan
    from pack.trainer.compact_plan import compact_plan

    for name, plan_of in (("layer by layer", leaf_plan), ("compact", compact_plan)):
        kept = _kept(plan_of, options.side // 8, options.rank)
        sys.stdout.write(f"{name:16}{kept / GIB:8.2f} GiB\n")


def _kept(plan_of: Any, side: int, rank: int) -> int:
    import torch
    import torch.nn.functional as F

    from pack.bench import reduced_sdxl
    from pack.bench.counting import kept_bytes
    from pack.nodes.host.unet import predict
    from pack.trainer.attach import Attachment
    from pack.trainer.config import LoraConfig
    from pack.trainer.network import Network
    from pack.trainer.targets import find_targets

    meta = torch.device("meta")
    unet = reduced_sdxl.full_size()
    network = Network(find_targets(unet, LoraConfig(rank=rank)), device=meta)
    inputs = [
        torch.empty(shape, dtype=torch.bfloat16, device=meta)
        for shape in ((1, 4, side, side), (1,), (1, 77, 2048), (1, 2816))
    ]
    own, F.scaled_dot_product_attention = F.scaled_dot_product_attention, _flash()
    try:
        with Attachment(plan_of(unet, network, _MetaWeights())):
            weights = [*unet.parameters(), *network.parameters()]
            return kept_bytes(lambda: predict(unet, *inputs), weights)[1]
    finally:
        F.scaled_dot_product_attention = own


def _flash() -> Any:
    """Attention that keeps query, key, value, output and the logarithms of the sums, and no more. There is no way back."""
    import torch

    class Flash(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, q: Any, k: Any, v: Any) -> Any:
            out = torch.empty_like(q.transpose(1, 2)).transpose(1, 2)
            ctx.save_for_backward(q, k, v, out, q.new_empty(q.shape[:3], dtype=torch.float32))
            return out

    return lambda q, k, v, *_, **__: Flash.apply(q, k, v)


class _MetaWeights:
    """The model's own weights; there is nothing to move."""

    @contextmanager
    def borrow(self, module: Any, dtype: Any, device: Any) -> Iterator[Any]:
        bias = None if module.bias is None else module.bias.detach()
        yield module.weight.detach(), bias


if __name__ == "__main__":
    main()
