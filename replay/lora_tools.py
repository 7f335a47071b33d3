"""Replays what kohya's tools made of small LoRAs: resized, merged, scaled by block, extracted."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from safetensors.torch import load_file
from torch import Tensor

from ..trainer.lora_tools.extract import extract
from ..trainer.lora_tools.factors import Factors, read_factors
from ..trainer.lora_tools.merge import merge
from ..trainer.lora_tools.resize import Size, resize
from ..trainer.lora_tools.scale_blocks import parse_blocks, scale_blocks
from .case import Case, Unsupported, largest

BOUND = 1e-5
"""Of a layer's change, relative to its norm: both compute in float32 or better."""

Layers = Mapping[str, Factors]


class Recorded(NamedTuple):
    """The recording: inputs and results, by case."""

    tensors: dict[str, Tensor]

    def of(self, case: str) -> dict[str, Tensor]:
        """What was recorded under a name."""
        start = f"{case}/"
        return {
            key.removeprefix(start): tensor
            for key, tensor in self.tensors.items()
            if key.startswith(start)
        }

    def layers(self, case: str) -> dict[str, Factors]:
        """The LoRA of that name."""
        return read_factors(self.of(case))

    def changes(self, case: str) -> dict[str, Tensor]:
        """What that case changes, by layer: of weights themselves, or of a LoRA."""
        found = self.of(case)
        if all("." not in key for key in found):
            return found
        return {stem: layer.change() for stem, layer in read_factors(found).items()}


def cases(folder: Path) -> Iterator[Case | Unsupported]:
    """A case for each recording of a tool that does what it says (docs/kohya.md has the others)."""
    place = folder / "lora_tools"
    about = json.loads((place / "lora_tools.json").read_text("utf-8"))["cases"]
    recorded = Recorded(load_file(place / "lora_tools.safetensors"))
    for name in about:
        if name in _OURS:
            yield _case(name, _OURS[name](recorded), recorded.changes(name))
        elif name not in ELSEWHERE:
            yield Unsupported(f"lora_tools/{name}")


def _case(name: str, ours: Layers, theirs: Mapping[str, Tensor]) -> Case:
    if ours.keys() != theirs.keys():
        return Case(f"lora_tools/{name}", math.inf, BOUND)
    errors = [
        float((layer.change() - theirs[stem]).norm() / theirs[stem].norm())
        for stem, layer in ours.items()
    ]
    return Case(f"lora_tools/{name}", largest(errors), BOUND)


def _resized(name: str, size: Size) -> Callable[[Recorded], Layers]:
    def replay(recorded: Recorded) -> Layers:
        return {stem: kept.layer for stem, kept in resize(recorded.layers(name), size).items()}

    return replay


def _concatenated(recorded: Recorded) -> Layers:
    """kohya's ratio k of a LoRA with rank r, put into a rank of R, is our strength k² r / R."""
    loras = [(recorded.layers("a"), 1.2), (recorded.layers("b"), 0.7)]
    found: dict[str, Factors] = {}
    for stem in loras[0][0]:
        own = [(layers[stem], ratio) for layers, ratio in loras if stem in layers]
        whole = sum(layer.rank for layer, _ in own)
        found |= merge([({stem: one}, ratio**2 * one.rank / whole) for one, ratio in own])
    return found


def _into_model(recorded: Recorded) -> Layers:
    return merge([(recorded.layers("a"), 0.8), (recorded.layers("b"), 0.4)])


def _into_model_by_block(recorded: Recorded) -> Layers:
    factors = parse_blocks("[0.5,0,0.25,1,1,1,1,1.5,1,1,1,1]")
    scaled = scale_blocks(recorded.of("a"), factors)
    return merge([(read_factors(scaled), 0.8), (recorded.layers("b"), 0.4)])


def _extracted(recorded: Recorded) -> Layers:
    found = {
        stem: extract(change, Size(4, conv_rank=3), stem)
        for stem, change in recorded.of("difference").items()
    }
    return {stem: kept.layer for stem, kept in found.items() if kept is not None}


_OURS: dict[str, Callable[[Recorded], Layers]] = {
    "resize_3": _resized("a", Size(3)),
    "resize_3_conv_1": _resized("b", Size(3, conv_rank=1)),
    "merge_alone": lambda recorded: merge([(recorded.layers("a"), 1.0)]),
    "merge_concat": _concatenated,
    "into_model": _into_model,
    "into_model_lbw": _into_model_by_block,
    "extract_4": _extracted,
}

ELSEWHERE = {
    "resize_fro_0.9": "keeps a rank more than the share asks for",
    "merge_sum_itself": "0.8 + 0.4 of one LoRA gives 1.44 of it",
    "merge_concat_itself": "0.5 + 0.5 of one LoRA gives 0.25 of it",
    "difference": "an input",
    "extract_4_clamped": "cuts off the largest numbers",
}
"""Recorded too, and not what we do; tests/replay/test_lora_tools.py shows both sides."""
