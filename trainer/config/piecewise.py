"""The learning rate in pieces: rules such as ``1:1000,0.1:2000,0.01``, as diffusers has them."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple


class StepRules(NamedTuple):
    """Multipliers for the learning rate. ends: the step (from 0) before which each but the last holds, rising."""

    ends: tuple[int, ...]
    factors: tuple[float, ...]

    def factor(self, step: int) -> float:
        """The factor in force for ``step``, counted from 0."""
        return self.factors[bisect_right(self.ends, step)]


def parse_step_rules(text: str) -> StepRules:
    """The rules of a text ``factor:end`` for each piece, comma-separated, and a last factor alone.

    They count by their ends, in whatever order they stand, as in diffusers' piecewise_constant.

    Raises:
        ValueError: the text has another form.
    """
    *pieces, last = text.split(",")
    try:
        found = {int(end): float(factor) for factor, end in (p.split(":") for p in pieces)}
        rules = StepRules(tuple(sorted(found)), (*(found[e] for e in sorted(found)), float(last)))
    except ValueError as error:
        raise ValueError(
            f"step_rules is {text!r}; give factor:step for each piece and the last factor alone, such "
            "as 1:1000,0.1:2000,0.01"
        ) from error
    if not all(0 <= factor < 1e6 for factor in rules.factors):
        raise ValueError(f"step_rules is {text!r}; no factor may be below 0")
    return rules
