"""How much memory a run needs, and what to give up when there is less: plain arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from .config import LoraConfig, TrainConfig

GIB = 1024**3
SAVED_PER_SAMPLE = 6.11 * GIB
"""Activations kept for backward: full SDXL, one sample of 1024 x 1024, 16-bit, frozen layers saving
nothing. Counted on the meta device with this attachment."""
COMPACT_PER_SAMPLE = 3.73 * GIB
"""The same with compact layers and a plain LoRA of rank 32."""
CHECKPOINTED_PER_SAMPLE = 0.48 * GIB
"""The same when transformer blocks and resnets are recomputed."""
TRANSIENT_PER_SAMPLE = 0.4 * GIB
"""Largest block while it is computed or recomputed, attention included."""
LARGEST_CHANGE = 1280 * 2560 * 3 * 3 * 4
"""Bytes of the change of SDXL's largest adapted weight in float32, a convolution's."""
CHANGES_AT_ONCE = {"lora": 0, "loha": 5, "lokr": 0}
"""How many tensors of that size a kind of adapter has at most, forward or backward (profiled)."""
CHANGES_OF_DORA = 2
TEXT_PER_CHUNK = 0.3 * GIB
"""What SDXL's text encoders keep for backward of 77 tokens, float32: 0.26 counted likewise, and some room."""
BYTES_PER_PARAMETER = 16
"""float32 weight, gradient and AdamW's two moments."""
BYTES_PER_AVERAGE = 4
"""What a moving average of the adapters adds to each parameter."""


@dataclass(frozen=True)
class MemoryPlan:
    """What the run does with its memory; same mathematics whatever is chosen."""

    checkpointing: bool
    micro_batch: int
    reserve: int
    """Bytes that must be free beside the model's weights."""
    fits: bool

    def describe(self) -> str:
        blocks = "blocks recomputed" if self.checkpointing else "no block recomputed"
        return (
            f"memory plan: {blocks}, {self.micro_batch} sample(s) at a time, "
            f"{self.reserve / GIB:.1f} GiB beside the weights"
        )


def reserve_bytes(
    parameters: int,
    pixels: int,
    micro_batch: int,
    itemsize: int,
    *,
    checkpointing: bool,
    compact: bool = False,
    chunks: int = 0,
) -> int:
    """Bytes needed beside the frozen weights for adapters, optimiser and activations."""
    kept = COMPACT_PER_SAMPLE if compact else SAVED_PER_SAMPLE
    saved = CHECKPOINTED_PER_SAMPLE if checkpointing else kept
    per_sample = (saved + TRANSIENT_PER_SAMPLE) * (pixels / 1024**2) * (itemsize / 2)
    per_sample += chunks * TEXT_PER_CHUNK
    return int(parameters * BYTES_PER_PARAMETER + per_sample * micro_batch)


def rebuilding_bytes(lora: LoraConfig) -> int:
    """Bytes for the changes of weights that LoHa and DoRA put together, one layer at a time."""
    changes = max(CHANGES_AT_ONCE[lora.algorithm], CHANGES_OF_DORA if lora.dora else 0)
    return changes * LARGEST_CHANGE


def plan_memory(
    config: TrainConfig,
    parameters: int,
    pixels: int,
    itemsize: int,
    available: int | None,
    chunks: int = 0,
) -> MemoryPlan:
    """The fastest plan that fits into `available` bytes beside the weights (None: no limit known).

    parameters: trainable ones; pixels: of the largest bucket; itemsize: bytes of the compute
    dtype; chunks: of 77 tokens in a caption, where text encoders are trained. Halving the batch
    costs less time than recomputing, so it is tried first.
    """
    average = parameters * BYTES_PER_AVERAGE if config.optimiser.ema_decay else 0
    checkpoint_choices = {"auto": (False, True), "off": (False,), "full": (True,)}
    rebuilding = rebuilding_bytes(config.lora)
    compact = config.compact and config.lora.is_plain
    plans = []
    for checkpointing in checkpoint_choices[config.checkpointing]:
        for micro_batch in dict.fromkeys((config.batch_size, 1)):
            sizes = parameters, pixels, micro_batch, itemsize
            beside = reserve_bytes(
                *sizes, checkpointing=checkpointing, compact=compact, chunks=chunks
            )
            need = average + rebuilding + beside
            fits = available is None or need <= available
            plans.append(MemoryPlan(checkpointing, micro_batch, need, fits))
    return next((plan for plan in plans if plan.fits), plans[-1])
