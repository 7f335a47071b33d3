"""The 23 blocks of SDXL's UNet as kohya counts them, and lists of numbers by block.

0 embeddings, 1-9 input, 10-12 middle, 13-21 output, 22 out; no LoRA of kohya's lies in 0 and 22.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

BLOCKS = 23
SIDE, MIDDLE = 9, 3
"""Input and output blocks; middle blocks."""

_FIRST = {"input": 1, "middle": 10, "output": 13}
_OUT = re.compile(r"out[._]\d")
_PATH = re.compile(r"(input|middle|output)_blocks?[._](\d+)")

CURVES: dict[str, Callable[[float], float]] = {
    "cosine": lambda x: math.sin(math.pi * (1 - x) / 2),
    "sine": lambda x: math.sin(math.pi * x / 2),
    "linear": lambda x: x,
    "reverse_linear": lambda x: 1 - x,
    "zeros": lambda x: 0.0,
}
"""kohya's curves of weights over nine blocks, x from 0 to 1."""


def block_of(path: str) -> int:
    """The block that a layer lies in, by its path in the UNet; 0 for the embeddings and any other path."""
    found = _PATH.match(path)
    if _OUT.match(path):
        return BLOCKS - 1
    return _FIRST[found[1]] + int(found[2]) if found else 0


def parse_ranks(text: str, what: str) -> tuple[int, ...]:
    """23 whole numbers between commas; () for an empty text. ValueError for anything else."""
    numbers = _numbers(text, what)
    if any(number != int(number) or number < 0 for number in numbers):
        raise ValueError(f"{what}: ranks are whole numbers from 0 on, got {text!r}.")
    return tuple(map(int, _for_every_block(numbers, what)))


def parse_alphas(text: str, what: str) -> tuple[float, ...]:
    """23 numbers between commas; () for an empty text. ValueError for anything else."""
    return _for_every_block(_numbers(text, what), what)


def rate_weights(down: str, middle: str, up: str, zero_threshold: float = 0.0) -> tuple[float, ...]:
    """kohya's down_lr_weight, mid_lr_weight and up_lr_weight as 23 factors; () when all are empty.

    Each is a list of numbers between commas, filled up with 1, or (not the middle) the name of a
    curve with an optional ``+base``. Factors up to ``zero_threshold`` are 0: no adapter is made there.

    Raises:
        ValueError: a list is too long, or something else stands there.
    """
    if not (down.strip() or middle.strip() or up.strip()):
        return ()
    parts = [
        _weights(down, "down_lr_weight", SIDE),
        _weights(middle, "mid_lr_weight", MIDDLE),
        _weights(up, "up_lr_weight", SIDE),
    ]
    kept = [weight if weight > zero_threshold else 0.0 for part in parts for weight in part]
    return (1.0, *kept, 1.0)


def _weights(text: str, what: str, count: int) -> list[float]:
    text = text.strip()
    if not text:
        return [1.0] * count
    name, _, base = text.partition("+")
    curve = CURVES.get(name.strip())
    if curve is not None and count == SIDE:
        offset = _numbers(base, what)[0] if base.strip() else 0.0
        return [curve(place / (count - 1)) + offset for place in range(count)]
    numbers = _numbers(text, what)
    if len(numbers) > count:
        raise ValueError(f"{what} has {len(numbers)} numbers; there are {count} such blocks.")
    return [*numbers, *[1.0] * (count - len(numbers))]


def _numbers(text: str, what: str) -> list[float]:
    """Numbers between commas; nothing between two commas is 0, as in kohya."""
    if not text.strip():
        return []
    try:
        numbers = [float(part) if part.strip() else 0.0 for part in text.split(",")]
        if not all(map(math.isfinite, numbers)):
            raise ValueError("a number is not finite")
        return numbers
    except ValueError as error:
        known = ", ".join(CURVES)
        raise ValueError(
            f"{what} is {text!r}; write numbers between commas, or one of {known}, such as sine+.25."
        ) from error


def _for_every_block(numbers: list[float], what: str) -> tuple[float, ...]:
    if len(numbers) not in (0, BLOCKS):
        raise ValueError(f"{what} has {len(numbers)} numbers; SDXL has {BLOCKS} blocks.")
    return tuple(numbers)
