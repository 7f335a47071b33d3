"""Parts of a model that keep their input and are computed again in backward, attention at choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
    noop_context_fn,
)

ATTENTION = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
    "_scaled_dot_product_attention_math_for_mps",
)
"""What PyTorch's attention is computed by; some versions are without some."""

_attention = frozenset(
    getattr(torch.ops.aten, name).default for name in ATTENTION if hasattr(torch.ops.aten, name)
)


def checkpointed(
    forward: Callable[..., Any],
    *,
    attention: bool = True,
    again: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """Recompute `forward` in backward, and leave no trace when it fails.

    attention: recompute it too; else what it gave is kept. again: computes no more than what `forward`
    keeps for backward, by the same functions of autograd. PyTorch's checkpoint leaves its hooks on
    the process when its function raises, for as long as the traceback lives: later forwards would
    then be recomputed wrongly. So a failure is carried past it by hand. No layer here draws random
    numbers, so no generator state is kept.
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        failures: list[BaseException] = []
        recomputing = False

        def guarded(*inputs: Any, **options: Any) -> Any:
            try:
                return (again if again and recomputing else forward)(*inputs, **options)
            except BaseException as failure:
                if recomputing:
                    raise
                failures.append(failure)
                return None

        output = checkpoint(
            guarded,
            *args,
            use_reentrant=False,
            preserve_rng_state=False,
            context_fn=noop_context_fn if attention else _keeping_attention,
            **kwargs,
        )
        recomputing = True
        if failures:
            raise failures.pop()
        return output

    return run


def _keeping_attention() -> Any:
    return create_selective_checkpoint_contexts(_policy)


def _policy(context: Any, operation: Any, *_: Any, **__: Any) -> CheckpointPolicy:
    keep = operation in _attention
    return CheckpointPolicy.MUST_SAVE if keep else CheckpointPolicy.PREFER_RECOMPUTE
