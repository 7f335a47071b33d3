"""What a check says: rows of one line each, with a verdict and numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ...data.scene import Scene

Row = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a check runs. settings: of the check; cap: GiB of the card that is pretended, 0: none."""

    small: bool
    device: torch.device
    folder: Path
    cap: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def is_card(self) -> bool:
        return self.device.type == "cuda"

    def scene(self, on_card: torch.dtype = torch.bfloat16) -> Scene:
        """SDXL with random weights in that dtype; on a CPU in float32."""
        dtype = on_card if self.is_card else torch.float32
        rank, alpha = (8, 4.0) if self.small else (32, 16.0)
        return Scene(self.small, self.device, dtype, rank, alpha)


Check = Callable[[Place], Any]
"""Yields rows."""


def verdict(good: bool, text: str, **numbers: Any) -> Row:
    """PASS or FAIL."""
    return {"verdict": "PASS" if good else "FAIL", "text": text, "numbers": numbers}


def measured(text: str, path: str = "", **numbers: Any) -> Row:
    """Figures for a person to judge. path: what of the pack they decide upon."""
    return {"verdict": "NUMBERS", "text": text, "path": path, "numbers": numbers}


def waiting(text: str) -> Row:
    """What this machine could not do."""
    return {"verdict": "NEEDS A CARD", "text": text}


def first_line(error: BaseException) -> str:
    """Enough of an error to know it by; the log has the rest."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
