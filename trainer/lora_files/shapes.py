"""What the parts of an adapter add up to: the shape of the weight that it changes, by its kind."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from .names import ALPHA, BIAS, DORA, DOWN, GLORA, LOHA, MID, UP, WHOLE

Parts = Mapping[str, Tensor]
Shape = tuple[int | None, int | None]
"""Rows and columns of a weight, all axes but the first taken together; None where nothing says it."""

NOTHING: Shape = (None, None)

_AXES = {
    **dict.fromkeys((DOWN, UP, *GLORA), range(2, 6)),
    **dict.fromkeys(LOHA[:4], range(2, 3)),
    **dict.fromkeys((MID, *LOHA[4:], "lokr_t2"), range(3, 6)),
    **dict.fromkeys(("lokr_w1", "lokr_w1_a", "lokr_w1_b"), range(2, 3)),
    **dict.fromkeys(("lokr_w2", "lokr_w2_a", "lokr_w2_b"), range(2, 6)),
    **dict.fromkeys(WHOLE, range(1, 6)),
    "oft_blocks": range(3, 5),
}
"""How many axes a part can have: ComfyUI passes over others without a word, or fails on them."""


def malformed(parts: Parts) -> str | None:
    """The first part with a shape that no adapter has, as `lora_up.weight of the shape []`."""
    for part, tensor in sorted(parts.items()):
        axes = _AXES.get(part)
        is_odd = tensor.numel() != 1 if part == ALPHA else tensor.numel() == 0
        if is_odd or (axes is not None and tensor.dim() not in axes):
            return f"{part} of the shape {list(tensor.shape)}"
    return None


def missing_parts(parts: Parts) -> list[str]:
    """The parts without which those that are there change nothing, or cannot be read."""
    needed: list[str] = []
    if parts.keys() & {UP, DOWN, MID}:
        needed += [DOWN, UP]
    if any(part in parts for part in LOHA):
        needed += LOHA[:4]
    if any(part in parts for part in GLORA):
        needed += GLORA
    if any(part.startswith("lokr_") for part in parts):
        for half in ("lokr_w1", "lokr_w2"):
            needed += [half] if half in parts else [f"{half}_a", f"{half}_b"]
    if "rescale" in parts:
        needed.append("oft_blocks")
    if "oft_blocks" in parts and parts["oft_blocks"].dim() == 4:
        needed.append(ALPHA)  # without it ComfyUI cannot use a BOFT
    found = [part for part in needed if part not in parts]
    if not needed and not parts.keys() & {*WHOLE, *BIAS, "oft_blocks"} and parts.keys() != {ALPHA}:
        found.append(f"{DOWN} or another kind of factor")
    return found


def change_shape(parts: Parts) -> Shape:
    """The shape of the change of the weight; (None, None) for parts without one, or not whole."""
    if UP in parts and DOWN in parts:
        return _lora(parts)
    if all(part in parts for part in LOHA[:4]):
        return _loha(parts)
    if any(part.startswith("lokr_") for part in parts) and not missing_parts(parts):
        return _lokr(parts)
    whole = next((parts[part] for part in WHOLE if part in parts), None)
    if whole is not None:
        return whole.shape[0], math.prod(whole.shape[1:])
    blocks = parts.get("oft_blocks")
    if blocks is not None and blocks.dim() >= 3:
        return blocks.shape[-3] * blocks.shape[-1], None
    return NOTHING


def misfit(parts: Parts, shape: Sequence[int]) -> str | None:
    """How the parts do not fit a weight of this shape; None where they do."""
    if "reshape_weight" in parts:  # it makes the weight larger
        return None
    width, depth = shape[0], math.prod(shape[1:])
    rows, columns = change_shape(parts)
    if rows not in (None, width) or columns not in (None, depth):
        return (
            f"changes {rows} x {'?' if columns is None else columns} numbers of {width} x {depth}"
        )
    lengths = dict.fromkeys(BIAS, shape[:1]) | {DORA: shape[:2]}
    for part, allowed in lengths.items():
        if part in parts and parts[part].numel() not in allowed:
            return f"has {parts[part].numel()} numbers in {part} for a weight of {list(shape)}"
    return None


def _lora(parts: Parts) -> Shape:
    down, up, mid = parts[DOWN], parts[UP], parts.get(MID)
    if up[0].numel() != down.shape[0]:
        return 0, 0  # factors of two ranks: they fit nothing
    kernel = 1 if mid is None else math.prod(mid.shape[2:])
    return up.shape[0], down[0].numel() * kernel


def _loha(parts: Parts) -> Shape:
    first, second = parts["hada_w1_a"], parts["hada_w1_b"]
    core = parts.get("hada_t1")
    if core is None:
        return first.shape[0], second.shape[1]
    return first.shape[1], second.shape[1] * math.prod(core.shape[2:])


def _lokr(parts: Parts) -> Shape:
    rows, columns = 1, 1
    for half in ("lokr_w1", "lokr_w2"):
        core = parts.get(half.replace("w", "t"))
        if half in parts:
            rows *= parts[half].shape[0]
            columns *= parts[half][0].numel()
        elif core is None:
            rows *= parts[f"{half}_a"].shape[0]
            columns *= parts[f"{half}_b"][0].numel()
        else:
            rows *= parts[f"{half}_a"].shape[1]
            columns *= parts[f"{half}_b"].shape[1] * math.prod(core.shape[2:])
    return rows, columns
