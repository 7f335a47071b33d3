"""What can be set about speed and memory beyond checkpointing; the node reads the defaults from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .problems import Problems, Settings

FrozenWeights = Literal["as loaded", "int8", "fp8"]


@dataclass(frozen=True)
class SpeedConfig(Settings):
    """How a step is computed. Only ``frozen_weights`` can change its numbers beyond rounding."""

    cuda_graphs: bool = False
    """Record a step once for each bucket on the GPU and replay it (see trainer/training/cuda_graphs.py)."""
    triton_kernels: bool = False
    """Compute element by element with Triton where it is installed (see trainer/layers/elementwise.py)."""
    stream_weights: bool = False
    """Keep the frozen weights in RAM and bring them block by block (see trainer/frozen/streaming.py)."""
    frozen_weights: FrozenWeights = "as loaded"
    """How the frozen linear layers are stored while training (see trainer/frozen/quantised.py)."""

    @property
    def model_leaves_card(self) -> bool:
        """Whether training computes with other copies of the weights than the model's own on the card."""
        return self.stream_weights or self.frozen_weights != "as loaded"

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = Problems()
        problems.one_of("frozen_weights", self.frozen_weights, FrozenWeights)
        problems.finish("Speed settings")

    def notes(self, *, compact: bool) -> list[str]:
        """What is allowed but hardly meant, as sentences; compact: whether that is on."""
        if self.triton_kernels and not compact:
            return ["triton_kernels works in compact layers only: turn compact on in Train."]
        return []
