from typing import Any, ClassVar

import torch
from torch import Tensor

class SDXL:
    unet_config: ClassVar[dict[str, Any]]
    unet_extra_config: ClassVar[dict[str, Any]]

    def __init__(self, unet_config: dict[str, Any]) -> None: ...
    def set_inference_dtype(
        self, dtype: torch.dtype, manual_cast_dtype: torch.dtype | None
    ) -> None: ...
    def get_model(
        self, state_dict: dict[str, Tensor], prefix: str = "", *, device: torch.device | None = None
    ) -> Any: ...
    def process_unet_state_dict_for_saving(
        self, state_dict: dict[str, Tensor]
    ) -> dict[str, Tensor]: ...
    def process_clip_state_dict_for_saving(
        self, state_dict: dict[str, Tensor]
    ) -> dict[str, Tensor]: ...

models: list[type[Any]]
