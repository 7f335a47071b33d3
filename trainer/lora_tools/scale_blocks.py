"""A LoRA stronger or weaker by the block of SDXL that its layers lie in.

Blocks have the names that users of block weights know: TE (both text encoders; TE1, TE2), IN0 to IN8,
MID, OUT0 to OUT8. kohya's lists (`lbw` in networks/svd_merge_lora.py) are read too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from torch import Tensor

from ..lora_files.formats import by_layer
from ..lora_files.names import DORA, FIRST_ENCODER, SECOND_ENCODER, UNET, UP
from ..sdxl.blocks import BLOCKS as COUNT
from ..sdxl.blocks import MIDDLE, SIDE, block_of
from .factors import check_finite, check_whole

INPUTS = tuple(f"IN{number}" for number in range(SIDE))
OUTPUTS = tuple(f"OUT{number}" for number in range(SIDE))
UNET_BLOCKS = (*INPUTS, "MID", *OUTPUTS)
BLOCKS = ("TE1", "TE2", *UNET_BLOCKS)
OUTSIDE = "REST"
"""Layers of the UNet before, beside and behind the blocks, which few LoRAs have."""

_GROUPS = {"TE": ("TE1", "TE2"), "BASE": ("TE1", "TE2"), "ALL": (*BLOCKS, OUTSIDE)}
_LISTS = {
    12: ("TE", "IN4", "IN5", "IN7", "IN8", "MID", *OUTPUTS[:6]),
    20: ("TE", *UNET_BLOCKS),
}
"""kohya's lists for SDXL, by their lengths: the blocks with transformers, or all."""
_NAME = re.compile(r"(IN|OUT)0?(\d)(?:-(?:IN|OUT)?0?(\d))?", re.IGNORECASE)
_LINEAR = (UP, "hada_w1_a", "lokr_w1", "lokr_w1_a", "diff", "w_norm")
"""Parts that the change of a weight is proportional to; a layer has one of them."""
_LINEAR_BIAS = ("diff_b", "b_norm")
MOST = 10.0
"""The largest factor either way, as for a strength."""
LONGEST = 1000
"""Characters of what may be typed."""


def parse_blocks(text: str) -> dict[str, float]:
    """Factors by block, of `IN4=0.5, OUT0-2=0, TE=1`: what is not named stays; of two that name a block
    the later counts. Or 12 or 20 numbers between commas, as kohya has them.

    Raises:
        ValueError: anything else stands there; says what.
    """
    if len(text) > LONGEST:
        raise ValueError(f"blocks has more than {LONGEST} characters.")
    entries = [entry.strip() for entry in re.split(r"[,;\n]", text.strip().strip("[]"))]
    entries = [entry for entry in entries if entry]
    if entries and not any("=" in entry for entry in entries):
        names = _LISTS.get(len(entries))
        if names is None:
            raise ValueError(
                f"blocks has {len(entries)} numbers without names. SDXL has 12 (TE, IN4, IN5, IN7, IN8, "
                "MID, OUT0 to OUT5) or 20 (TE, IN0 to IN8, MID, OUT0 to OUT8); 17 and 26 are of SD 1."
            )
        entries = [f"{name}={entry}" for name, entry in zip(names, entries, strict=True)]
    found: dict[str, float] = {}
    for entry in entries:
        name, _, number = entry.partition("=")
        found |= dict.fromkeys(_named(name.strip()), _number(number, entry))
    return found


def _named(name: str) -> tuple[str, ...]:
    upper = name.upper()
    if upper in _GROUPS:
        return _GROUPS[upper]
    if upper in (*BLOCKS, OUTSIDE):
        return (upper,)
    found = _NAME.fullmatch(name)
    if found is not None:
        first, last = int(found[2]), int(found[3] or found[2])
        if first <= last < SIDE:
            return tuple(f"{found[1].upper()}{number}" for number in range(first, last + 1))
    raise ValueError(
        f"blocks names {name!r}, which is no block of SDXL. There are TE (TE1, TE2), IN0 to IN8, MID, OUT0 "
        "to OUT8, ranges such as OUT0-2, REST and ALL."
    )


def _number(text: str, entry: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"blocks has {entry!r}; write a name and a number, such as IN4=0.5.")
    if abs(number) > MOST:
        raise ValueError(f"blocks has {entry!r}; a factor is from {-MOST:g} to {MOST:g}.")
    return number


def block_name(stem: str) -> str:
    """The block of a layer, by kohya's stem."""
    for prefix, name in {FIRST_ENCODER: "TE1", SECOND_ENCODER: "TE2"}.items():
        if stem.startswith(prefix):
            return name
    block = block_of(stem.removeprefix(UNET))
    if block in (0, COUNT - 1):
        return OUTSIDE
    if block <= SIDE:
        return INPUTS[block - 1]
    return "MID" if block <= SIDE + MIDDLE else OUTPUTS[block - SIDE - MIDDLE - 1]


def scale_blocks(lora: Mapping[str, Tensor], factors: Mapping[str, float]) -> dict[str, Tensor]:
    """The tensors with each layer's change multiplied by its block's factor; 0 takes the layer out.

    LoHa, LoKr and changes of whole weights can be scaled too, for their change is proportional to one of their parts.

    Raises:
        ValueError: nothing is left, a layer is not finite, or one that is to be scaled is not whole or of a kind
            that cannot be.
    """
    found: dict[str, Tensor] = {}
    for stem, parts in by_layer(lora).items():
        factor = factors.get(block_name(stem), 1.0)
        if factor:
            check_finite(stem, parts.values())
            scaled = parts if factor == 1 else _times(stem, parts, factor)
            found |= {f"{stem}.{part}": tensor for part, tensor in scaled.items()}
    if not found:
        raise ValueError(
            "All blocks that this LoRA has are set to 0, so that nothing is left: raise one."
        )
    return found


def _times(stem: str, parts: Mapping[str, Tensor], factor: float) -> dict[str, Tensor]:
    check_whole(stem, parts)
    scaled = [part for part in _LINEAR if part in parts][:1]
    scaled += [part for part in _LINEAR_BIAS if part in parts]
    if DORA in parts or not scaled:
        raise ValueError(
            f"{stem} has {', '.join(sorted(parts))}: DoRA, GLoRA, OFT and weights that replace others "
            "cannot be made weaker by a factor. Set its block to 1 or 0."
        )
    return dict(parts) | {part: parts[part].float() * factor for part in scaled}
