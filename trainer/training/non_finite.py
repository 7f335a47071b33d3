"""Numbers that are not finite: found in tensors, and what to say of a run that meets them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ..config.optimisers import own_defaults
from ..config.train import TrainConfig
from .divergence import MAX_BAD_STEPS


def not_finite(tensors: Iterable[tuple[str, Tensor]]) -> list[str]:
    """The names of the tensors that hold NaN or infinity, in order."""
    return [name for name, tensor in tensors if not _is_finite(tensor)]


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or tensor.is_meta:
        return True
    wide = tensor.float() if tensor.dtype.itemsize == 1 else tensor  # 8 bits cannot be asked
    return bool(torch.isfinite(wide).all())


def damaged(names: Sequence[str]) -> str:
    """Of a model whose weights of these names are not finite: no step can be computed."""
    return (
        f"The MODEL has numbers that are not finite (NaN or infinity) in {len(names)} of its weights, "
        f"e.g. {names[0]}, so that no step can be computed; nothing was changed. Its checkpoint, or a "
        "LoRA that was loaded onto it, is damaged or was merged wrongly: load another one."
    )


def lost(done: int, config: TrainConfig) -> str:
    """Of a run that had good steps and then none any more."""
    return (
        f"The loss or its gradient was not finite {MAX_BAD_STEPS} times in a row (up to step {done} "
        f"of {config.steps}). The LoRA of the last good step is kept. To get further, {slower(config)}{_faults()}."
    )


def useless(done: int, dtype: torch.dtype) -> str:
    """Of a run without a good step, in this dtype. Nothing was learned yet, so it is no matter of rates."""
    narrow = (
        " The MODEL computes in float16, whose numbers end at 65504: start ComfyUI with --bf16-unet or "
        "--fp32-unet."
        if dtype is torch.float16
        else ""
    )
    return (
        f"No step was good: the loss or its gradient was not finite in each of the {done} that were "
        f"done. The weights of the MODEL are finite; what is computed from them is not.{narrow} Take "
        f"away what patches the MODEL{_faults()}."
    )


def slower(config: TrainConfig) -> str:
    """How this run would learn more slowly, as the end of a sentence."""
    kind = config.optimiser.type
    if not config.optimiser.finds_rate:
        return f"lower the learning rate ({config.optimiser.learning_rate:g})"
    if "d_coef" in own_defaults(kind):
        return f"lower d_coef in the optimiser's arguments, since {kind} finds the learning rate itself"
    return f"take another optimiser, since {kind} finds the learning rate itself"


def _faults() -> str:
    if getattr(torch.backends.cuda.matmul, "allow_fp16_accumulation", False):
        return ", or start ComfyUI without --fast fp16_accumulation"
    return ""
