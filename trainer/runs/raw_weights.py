"""The weights that a run with a moving average trained, beside the average that is its result."""

from __future__ import annotations

from torch import Tensor

from .state_files import StateFiles
from .trained_lora import TrainedLora


def raw_weights(lora: TrainedLora) -> dict[str, Tensor]:
    """The LoRA as its last step left it, by kohya key, float32, from the run's last state.

    Raises:
        ValueError: it was trained without a moving average; its state is not there any more.
    """
    decay, steps = lora.config.optimiser.ema_decay, len(lora.result.losses)
    if not decay:
        raise ValueError(
            "This LoRA was trained without a moving average, so it has one kind of weights: set ema_decay in "
            "Optimiser Settings (0.98 spans about 50 steps) and train."
        )
    folder = lora.result.path.parent
    state = StateFiles(folder).latest(steps)
    if state is None or state.step != steps:
        raise ValueError(
            f"The raw weights of step {steps} lay in the run's state, which is not in {folder} any more (a run "
            "that goes on keeps its last two): take the averaged weights, or train again."
        )
    return state.network
