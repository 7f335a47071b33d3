"""Bytes that full-size SDXL keeps for backward, counted without computing: one image, bfloat16.

`COMFYUI_PATH=... python bench/activations.py [--side 1024] [--rank 32]` prints what `trainer/memory/plan.py`
holds: MiB that are kept whatever the rank and MiB for each rank; then the peaks of whole steps. The
model lies on PyTorch's meta device, which has shapes and no numbers, with flash attention.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

MIB = 1 << 20
CONV_RANK = 8


def main() -> None:
    """Print a table of constants and one of whole steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=1024, help="pixels a side")
    parser.add_argument("--rank", type=int, default=32)
    options = parser.parse_args()
    from finding import import_comfyui

    import_comfyui()
    from ..trainer.layers.recompute import Again
    from ..trainer.sdxl.constants import LATENT_PIXELS

    sdxl = FullSize(options.side // LATENT_PIXELS)
    sys.stdout.write(f"{'layers':16}{'blocks':14}{'again':20}{'MiB':>10}{'for each rank':>16}\n")
    for compact in (False, True):
        for row in _constants(sdxl, compact, options.rank):
            sys.stdout.write("{:16}{:14}{:20}{:10.3f}{:16.5f}\n".format(*row))
    sys.stdout.write(f"\n{'layers':16}{'again in all blocks':22}{'kept GiB':>10}{'peak GiB':>10}\n")
    for compact in (False, True):
        for level in _levels(compact):
            step = sdxl.step(compact, {"": level}, options.rank, backward=True)
            row = _word(compact), Again(level).name, step.kept / MIB / 1024, step.peak / MIB / 1024
            sys.stdout.write("{:16}{:22}{:10.3f}{:10.3f}\n".format(*row))


def _constants(sdxl: FullSize, compact: bool, rank: int) -> Iterator[tuple[Any, ...]]:
    """Layers, blocks, level, MiB of one block and MiB of it for each rank."""
    from ..trainer.layers.recompute import Again

    def line(kept: Any, first: int, other: int, count: int = 1) -> tuple[float, float]:
        """Through the values at two ranks."""
        each = (kept(other) - kept(first)) / (other - first)
        return (kept(first) - first * each) / MIB / count, each / MIB / count

    def kept(levels: dict[str, Again], rank: int, conv_rank: int = 0) -> int:
        return sdxl.step(compact, {"": Again.ALL, **levels}, rank, conv_rank).kept

    def more(levels: dict[str, Again], conv: bool = False) -> Any:
        """What a LoRA of a rank keeps more at these levels than when all is computed again."""
        if conv:
            return lambda r: (
                kept(levels, rank, r) - kept({}, rank, r) - kept(levels, rank) + kept({}, rank)
            )
        return lambda r: kept(levels, r) - kept({}, r)

    layers, no = _word(compact), Again.NOTHING
    yield layers, "all", "ALL", *line(lambda r: kept({}, r), rank, 2 * rank)
    conv_ranks = CONV_RANK, 2 * CONV_RANK
    conv = line(lambda r: kept({}, rank, r) - kept({}, rank), *conv_ranks)
    yield layers, "all", "ALL, conv_rank", *conv
    for size, count in sdxl.sizes.items():
        for level in _levels(compact)[:-1] if size != "resnet" else [no]:
            found = line(more({size: level}), rank, 2 * rank, count)
            yield layers, f"{count} {size}", level.name, *found
    found = line(more({"resnet": no}, conv=True), *conv_ranks, sdxl.sizes["resnet"])
    yield layers, "resnet", "NOTHING, conv_rank", *found


def _levels(compact: bool) -> list[Any]:
    from ..trainer.layers.recompute import Again

    return [a for a in Again if compact or a not in (Again.FEED_FORWARD, Again.PROJECTIONS)]


def _word(compact: bool) -> str:
    return "compact" if compact else "layer by layer"


class FullSize:
    """SDXL's UNet on the meta device. side: of the latents."""

    def __init__(self, side: int) -> None:
        from collections import Counter

        from ..trainer.layers.recompute import find_blocks
        from .data import reduced_sdxl

        self._unet, self._side = reduced_sdxl.full_size(), side
        self.blocks = find_blocks(self._unet)
        self.sizes = Counter(block.size for block in self.blocks)
        """How many blocks there are of each size."""

    def step(
        self,
        compact: bool,
        levels: dict[str, Any],
        rank: int,
        conv_rank: int = 0,
        *,
        backward: bool = False,
    ) -> Any:
        """What a step holds (see bench/counted/alive.py). levels: by size of block, "" for all others."""
        return self.step_at(
            compact,
            {block: levels.get(block.size, levels.get("")) for block in self.blocks},
            rank,
            conv_rank,
            backward=backward,
        )

    def step_at(
        self, compact: bool, levels: Any, rank: int, conv_rank: int = 0, *, backward: bool = False
    ) -> Any:
        """The same for levels of single blocks."""
        import torch
        import torch.nn.functional as F

        from ..nodes.host.model.unet import predict
        from ..trainer.config.lora import LoraConfig
        from ..trainer.layers.attach import Attachment, checkpoint_plan, leaf_plan
        from ..trainer.layers.compact_plan import compact_plan
        from ..trainer.network.network import Network
        from ..trainer.network.unet_targets import find_targets
        from .counted.alive import held
        from .data.reduced_sdxl import MetaWeights, full_shapes

        meta, unet, weights = torch.device("meta"), self._unet, MetaWeights()
        config = LoraConfig(rank=rank, conv_rank=conv_rank)
        network = Network(find_targets(unet, config), device=meta, weights=weights)
        inputs = [
            torch.empty(shape, dtype=torch.bfloat16, device=meta)
            for shape in full_shapes(self._side)
        ]
        if compact:
            plan = compact_plan(unet, network, weights, levels)
        else:
            plan = leaf_plan(unet, network, weights)
        flash = torch.ops.aten._scaled_dot_product_flash_attention
        own = F.scaled_dot_product_attention
        F.scaled_dot_product_attention = lambda q, k, v, *_, **__: flash(q, k, v)[0]
        try:
            with Attachment([*plan, *checkpoint_plan(unet, levels, plan)]):
                return held(
                    lambda: predict(unet, *inputs).float().square().mean(),
                    network.parameters() if backward else None,
                )
        finally:
            F.scaled_dot_product_attention = own


if __name__ == "__main__":
    main()
