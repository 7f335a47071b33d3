"""Kernels that SDXL's training starts and bytes that they move, counted without computing: one image.

`COMFYUI_PATH=... python bench/passes.py [--side 1024] [--rank 32]`. bfloat16, forward and backward, on the
meta device, which has shapes and no numbers. A kernel reads each of its inputs once and writes each of
its outputs once; PyTorch's group norm, which really starts several, counts as one. Bytes are those of
all but matrix products and convolutions; attention is left out of both.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")
PRODUCTS = ("mm", "addmm", "addmm_", "bmm", "baddbmm_", "convolution", "convolution_backward")
NO_KERNEL = (
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
    "_unsafe_view",
)
BLOCKS, RESNET = "middle_block.1.transformer_blocks", "middle_block.0"


def main() -> None:
    """Print a row for each part of the UNet and each way of computing it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=1024, help="pixels a side, for the whole UNet")
    parser.add_argument("--rank", type=int, default=32)
    options = parser.parse_args()
    from finding import import_comfyui

    import_comfyui()
    from ..trainer.sdxl.constants import LATENT_PIXELS
    from .data import reduced_sdxl

    unet = reduced_sdxl.full_size()
    sys.stdout.write(f"{'part':24}{'way':16}{'kernels':>9}{'of them Triton':>16}{'MB':>10}\n")
    for part, run in _parts(unet, options.side // LATENT_PIXELS).items():
        for way, found in _ways(unet, options.rank, run):
            row = part, way, found.kernels, found.triton, found.bytes / 1e6
            sys.stdout.write("{:24}{:16}{:9}{:16}{:10.0f}\n".format(*row))


def _parts(unet: nn.Module, side: int) -> dict[str, Callable[[], Tensor]]:
    """Name -> a forward of that part."""
    from ..nodes.host.model.unet import OPTIONS, predict
    from .data.reduced_sdxl import full_shapes

    shapes = full_shapes(side)
    blocks: Any = unet.get_submodule(BLOCKS)
    resnet = unet.get_submodule(RESNET)

    def ten_blocks() -> Tensor:
        x, context = drawn(1, 1024, 1280).requires_grad_(), drawn(*shapes[2])
        for block in blocks:
            x = block(x, context, transformer_options=OPTIONS)
        return x

    return {
        "ten transformer blocks": ten_blocks,
        "a resnet": lambda: resnet(drawn(1, 1280, 32, 32).requires_grad_(), drawn(1, 1280)),
        "the whole UNet": lambda: predict(unet, *(drawn(*shape) for shape in shapes)),
    }


def _ways(unet: nn.Module, rank: int, run: Callable[[], Tensor]) -> Iterator[tuple[str, Passes]]:
    from ..trainer.config.lora import LoraConfig
    from ..trainer.layers.attach import Attachment, leaf_plan
    from ..trainer.layers.compact_plan import compact_plan
    from ..trainer.layers.kernels import TRITON
    from ..trainer.network.network import Network
    from ..trainer.network.unet_targets import find_targets
    from .data.reduced_sdxl import MetaWeights

    weights = MetaWeights()
    network = Network(find_targets(unet, LoraConfig(rank=rank)), device=META, weights=weights)
    ways = {
        "layer by layer": leaf_plan(unet, network, weights),
        "compact": compact_plan(unet, network, weights),
        "with Triton": compact_plan(unet, network, weights, elementwise=TRITON),
    }
    for name, plan in ways.items():
        with Attachment(plan), flash():
            yield name, count(lambda: run().sum())
        for parameter in network.parameters():
            parameter.grad = None


def count(loss: Callable[[], Tensor]) -> Passes:
    """What a forward and its backward start; Triton's kernels are counted and do nothing."""
    from ..trainer.layers.kernels import gating, norming

    own = gating.launch
    with Passes() as passes:
        gating.launch = norming.launch = passes.launch
        try:
            loss().backward()
        finally:
            gating.launch = norming.launch = own
    return passes


class Passes(TorchDispatchMode):
    """Counts every operation that starts a kernel. bytes: without matrix products and convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = self.triton = self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if not (func.is_view or name in NO_KERNEL):
            self.kernels += 1
            if name not in PRODUCTS:
                self.bytes += _size([args, kwargs, output])
        return output

    def launch(self, kernel: Any, grid: tuple[int, ...], *arguments: Any, **_: Any) -> None:
        """In place of the one of Triton's kernels."""
        self.kernels += 1
        self.triton += 1
        self.bytes += _size(arguments)


def _size(tree: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tree_leaves(tree) if isinstance(t, Tensor))


def drawn(*shape: int) -> Tensor:
    """An input of that shape."""
    return torch.empty(shape, dtype=torch.bfloat16, device=META)


@contextmanager
def flash() -> Iterator[None]:
    """Attention that starts nothing and has the right shapes."""

    class Flash(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, q: Any, k: Any, v: Any) -> Any:
            ctx.save_for_backward(q, k, v)
            return torch.empty_like(q.transpose(1, 2)).transpose(1, 2)

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return tuple(torch.empty_like(x) for x in ctx.saved_tensors)

    own = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = lambda q, k, v, *_, **__: Flash.apply(q, k, v)
    try:
        yield
    finally:
        F.scaled_dot_product_attention = own


if __name__ == "__main__":
    main()
