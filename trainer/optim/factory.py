"""Makes the optimiser that a config names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..config.optimisers import FUSED, KINDS, is_relative, optimiser_class


def make_optimiser(
    kind: str,
    groups: list[dict[str, Any]],
    learning_rate: float,
    arguments: Mapping[str, Any],
    device: torch.device,
) -> torch.optim.Optimizer:
    """The optimiser of torch's parameter groups, with kohya's defaults of its kind under the arguments.

    Fused where the device has that, unless the arguments say how it is to be computed.

    Raises:
        ValueError: its package is not installed, or it refuses the arguments.
    """
    known = KINDS[kind]
    try:
        cls = optimiser_class(known)
    except ImportError as error:
        raise ValueError(
            f"The optimiser {kind} needs the package {known.package}, which does not load here "
            f"({error}). Install it into ComfyUI's Python (pip install {known.package}) or choose "
            "another optimiser."
        ) from error
    values = {**known.defaults, **arguments}
    if kind in FUSED and device.type == "cuda" and not values.keys() & {"fused", "foreach"}:
        values["fused"] = True
    relative = is_relative(kind, values)
    if relative:
        values["relative_step"] = True  # warmup_init asks for it, as in kohya
        groups = [{k: v for k, v in group.items() if k != "lr"} for group in groups]
    try:
        made = cls(groups, lr=None if relative else learning_rate, **values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"The optimiser {kind} refuses its arguments: {error}") from error
    if device.type == "cpu" and hasattr(made, "is_paged"):
        made.is_paged = False  # there are no pages; PagedAdEMAMix8bit would ask for some
    return made
