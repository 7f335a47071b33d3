from typing import Any

import torch
from torch import nn

class disable_weight_init: ...
class manual_cast(disable_weight_init): ...

# Two results without `offloadable`, which versions up to 0.3 have not; with it three.
def cast_bias_weight(
    s: nn.Module,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    bias_dtype: torch.dtype | None = None,
    offloadable: bool = False,
) -> Any: ...
def uncast_bias_weight(s: nn.Module, weight: Any, bias: Any, offload_stream: Any) -> None: ...
