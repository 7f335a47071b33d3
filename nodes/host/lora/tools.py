"""LoRAs made of LoRAs: resized, merged, scaled by block, each with a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from ....trainer.lora_files.file import LoraModel
from ....trainer.lora_files.formats import to_kohya
from ....trainer.lora_tools.factors import as_tensors, read_factors
from ....trainer.lora_tools.merge import is_nothing, merge
from ....trainer.lora_tools.metadata import merged, retold
from ....trainer.lora_tools.report import EXACT, block_table, error_text, size_text
from ....trainer.lora_tools.resize import Size, resize
from ....trainer.lora_tools.scale_blocks import parse_blocks, scale_blocks
from ..progress import NodeProgress, check_interrupt


class Made(NamedTuple):
    """A LoRA, and what there is to say of it."""

    lora: LoraModel
    report: str


def as_kohya(lora: Mapping[str, Tensor]) -> LoraModel:
    """A LORA_MODEL of ours or ComfyUI's own under kohya's keys. Raises ValueError where it is no SDXL LoRA."""
    metadata = dict(getattr(lora, "metadata", {}))
    return LoraModel(to_kohya(lora, metadata), metadata)


def resized(lora: Mapping[str, Tensor], size: Size, node_id: str | None) -> Made:
    """A LoRA of smaller rank; see trainer/lora_tools/resize.py."""
    given = as_kohya(lora)
    layers = read_factors(given)
    bar = NodeProgress(len(layers), node_id)

    def on_layer(done: int) -> None:
        check_interrupt()
        bar.update(done)

    kept = resize(layers, size, on_layer)
    made = {stem: one.layer for stem, one in kept.items()}
    how = f"resized to rank {size.rank}{_more(size)}"
    found = LoraModel(as_tensors(made), retold(given.metadata, how, made))
    return Made(found, f"{_before_after(given, found)}\n{error_text(kept, EXACT)}")


def merged_loras(those: Sequence[tuple[Mapping[str, Tensor] | None, float]]) -> Made:
    """The sum of the LoRAs that are connected, each with its strength."""
    given = [(as_kohya(lora), strength) for lora, strength in those if lora is not None]
    used = [(lora, strength) for lora, strength in given if strength]
    layers = [(read_factors(lora), strength) for lora, strength in given]
    made = merge(layers)
    strengths = " + ".join(f"{strength:g}" for _, strength in used)
    how = f"merged from {len(used)} LoRAs at {strengths}"
    found = LoraModel(as_tensors(made), merged([lora.metadata for lora, _ in used], made, how))
    lines = [f"{strength:g} x ({size_text(lora)})" for lora, strength in given]
    lines.append(f"→ {size_text(found)} at fp16")
    lines.append(
        "Nothing is left: the changes cancel each other out."
        if is_nothing(layers, made)
        else "The sum of the changes, exactly: the factors stand side by side."
    )
    return Made(found, "\n".join(lines))


def scaled(lora: Mapping[str, Tensor], blocks: str) -> Made:
    """A LoRA with each block at its factor; see trainer/lora_tools/scale_blocks.py."""
    given = as_kohya(lora)
    factors = parse_blocks(blocks)
    others = [f"{name}={factor:g}" for name, factor in factors.items() if factor != 1]
    metadata = given.metadata
    if others:
        metadata = retold(metadata, f"scaled by block: {', '.join(others)}")
    found = LoraModel(scale_blocks(given, factors), metadata)
    return Made(found, f"{_before_after(given, found)}\n{block_table(given, factors)}")


def _before_after(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> str:
    return f"{size_text(before)} → {size_text(after)} at fp16"


def _more(size: Size) -> str:
    conv = f", convolutions {size.conv_rank}" if size.conv_rank else ""
    return conv + (f", energy {size.energy:g}" if size.energy < 1 else "")
