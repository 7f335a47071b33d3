"""A LoRA as it comes out of a training: with what that training was and what it found."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..config.train import TrainConfig
from ..lora_files.file import LoraModel
from .run_folder import Result


class TrainedLora(LoraModel):
    """The tensors and metadata of a LoRA, and the run that it is of.

    config: the run's settings; result: its losses, its validations, its last and its best LoRA.
    """

    def __init__(self, lora: Mapping[str, Tensor], config: TrainConfig, result: Result) -> None:
        super().__init__(lora, getattr(lora, "metadata", {}))
        self.config, self.result = config, result
