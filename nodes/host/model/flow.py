"""A MODEL that is sampled by rectified flow, as ComfyUI's ModelSamplingSD3 sets it."""

from __future__ import annotations

from typing import Any, TypeGuard

import comfy.model_sampling

from .host_types import FlowSampling


def is_flow(sampling: Any) -> TypeGuard[FlowSampling]:
    """Whether a model_sampling is rectified flow with a table of sigmas."""
    return isinstance(sampling, comfy.model_sampling.ModelSamplingDiscreteFlow) and isinstance(
        sampling, comfy.model_sampling.CONST
    )


def check_flow(sampling: FlowSampling) -> None:
    """Refuse noise that is stronger or weaker than the trainer's. Raises ValueError."""
    if getattr(sampling, "noise_scale", 1.0) != 1.0:  # older hosts know no other scale
        raise ValueError(
            "This MODEL is set to flow sampling with noise of another scale than 1. Put ComfyUI's "
            "ModelSamplingSD3 between the loader and Train."
        )
