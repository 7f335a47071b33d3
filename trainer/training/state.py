"""The state of an unfinished run: all that the next step depends on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class State:
    """What is known after ``step`` optimiser steps. Draws need nothing: they are functions of the step.

    ``losses`` of all steps; ``good``: how many were applied; ``network``: kohya keys -> tensors;
    ``optimiser``, ``guard`` and ``bands``: what these give and take back; empty: as new.
    """

    step: int
    losses: list[float]
    good: int
    network: dict[str, Tensor]
    optimiser: dict[str, Any]
    guard: dict[str, Any]
    bands: list[list[float]] = field(default_factory=list)

    @classmethod
    def beginning(
        cls, network: dict[str, Tensor], optimiser: dict[str, Any] | None = None
    ) -> State:
        """Of a run without a step yet that begins with these adapters, and maybe an optimiser's state."""
        return cls(0, [], 0, network, optimiser or {}, {})
