"""How a step grows with its settings: full-size SDXL on the meta device, counted, nothing computed.

`COMFYUI_PATH=... python bench/growth.py`, which takes 15 minutes. One micro batch, forward and backward,
in float16, nothing computed again: compact layers for plain LoRA, layer by layer for other kinds. One
setting changes at a time; the others are those of the first row.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ..trainer.config.train import TrainConfig
    from .counted.full_size import FullSize

MIB, GIB = 1 << 20, 1 << 30
HEAD = (
    "| setting | factors, millions | LoRA file MiB | factors, gradients, AdamW GiB | kept GiB | TFLOP "
    "| operations |\n|---|---|---|---|---|---|---|\n"
)
IN_FILE = 2
"""Bytes of a number in a LoRA file, as Save LoRA writes it by default."""


class Case(NamedTuple):
    """What is asked for, and the images of a micro batch. lora: changes to its config."""

    name: str
    batch: int = 1
    side: int = 1024
    lora: dict[str, Any] = {}

    def config(self) -> TrainConfig:
        """The settings of Train."""
        from ..trainer.config.train import TrainConfig

        plain = TrainConfig(batch_size=self.batch)
        return replace(plain, lora=replace(plain.lora, **self.lora))


class Row(NamedTuple):
    """factors: how many numbers are trained; learned: bytes of them, their gradients and AdamW's states;
    kept: bytes for backward."""

    factors: int
    learned: int
    kept: int
    flops: int
    launches: int


CASES = (
    Case("rank 32, batch 1, 1024 px, linear layers, LoRA"),
    *(Case(f"rank {rank}", lora={"rank": rank}) for rank in (4, 8, 16, 64, 128)),
    *(Case(f"batch {batch}", batch=batch) for batch in (2, 4, 8)),
    *(Case(f"{side} px", side=side) for side in (512, 768, 1280, 1536)),
    *(Case(f"convolutions, rank {r}", lora={"conv_rank": r}) for r in (8, 32)),
    Case("DoRA", lora={"dora": True}),
    Case("LoHa", lora={"algorithm": "loha"}),
    Case("LoKr", lora={"algorithm": "lokr"}),
)


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    from finding import import_comfyui

    import_comfyui()
    from .counted.full_size import FullSize

    sys.stdout.write(HEAD)
    for case, row in counted(FullSize(), CASES):
        sys.stdout.write(
            f"| {case.name} | {row.factors / 1e6:.1f} | {row.factors * IN_FILE / MIB:.0f} "
            f"| {row.learned / GIB:.2f} | {row.kept / GIB:.2f} | {row.flops / 1e12:.1f} | {row.launches} |\n"
        )
        sys.stdout.flush()


def counted(sdxl: FullSize, cases: tuple[Case, ...]) -> Iterator[tuple[Case, Row]]:
    """A row for each case."""
    for case in cases:
        config = case.config()
        counts = sdxl.counts(config, case.side, compact=config.lora.is_plain)
        factors, learned = sdxl.trained(config)
        yield case, Row(factors, learned, *counts)


if __name__ == "__main__":
    main()
