from typing import Any

import torch
from torch import nn

class UNetModel(nn.Module):
    def __init__(
        self,
        *,
        operations: type,
        device: torch.device | str | None = None,
        dtype: torch.dtype = ...,
        **config: Any,
    ) -> None: ...
