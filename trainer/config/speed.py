"""What can be set about speed and memory beyond checkpointing; the node reads the defaults from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...base.config import Config, Problems

FrozenWeights = Literal["as loaded", "int8", "fp8"]


@dataclass(frozen=True)
class SpeedConfig(Config):
    """How a step is computed. Only ``frozen_weights`` can change its numbers beyond rounding."""

    title = "Speed settings"

    cuda_graphs: bool = False
    """A step is recorded once for each bucket on the GPU and then replayed (see trainer/training/cuda_graphs.py)."""
    triton_kernels: bool = False
    """What is computed element by element runs in Triton where that is installed (see trainer/layers/elementwise.py)."""
    stream_weights: bool = False
    """The frozen weights stay in RAM and come to the GPU block by block (see trainer/frozen/streaming.py)."""
    frozen_weights: FrozenWeights = "as loaded"
    """The frozen linear layers are stored in this way while training (see trainer/frozen/quantised.py)."""
    prefetch_weights: bool = False
    """Does nothing any more: weights in RAM come beside the computing without it (see docs/design.md)."""
    auto_compact: bool = True
    """With `checkpointing` on auto the memory plan may choose compact layers where that saves recomputing."""

    @property
    def model_leaves_card(self) -> bool:
        """Whether training computes with other copies of the weights than the model's own on the card."""
        return self.stream_weights or self.frozen_weights != "as loaded"

    def check(self, problems: Problems) -> None:
        problems.one_of("frozen_weights", self.frozen_weights, FrozenWeights)

    def notes(self, *, compact: bool) -> list[str]:
        """What is allowed but hardly meant, as sentences; compact: whether that is on."""
        found = []
        if self.triton_kernels and not compact:
            found.append("triton_kernels works in compact layers only: turn compact on in Train.")
        if self.prefetch_weights:
            found.append(
                "prefetch_weights no longer does anything: ComfyUI brings weights from RAM while the layer "
                "before computes, and fetching them earlier made it wait for each."
            )
        return found
