from typing import Any

import torch
from torch import nn

class ModelPatcher:
    """What makes one, for scenes of a measurement; host_types.py names what is used of it."""

    def __init__(
        self, model: nn.Module, load_device: torch.device, offload_device: torch.device
    ) -> None: ...
    def __getattr__(self, name: str) -> Any: ...
    def __setattr__(self, name: str, value: Any) -> None: ...

class ModelPatcherDynamic(ModelPatcher): ...

CoreModelPatcher: type[ModelPatcher]
