from typing import Any

from torch import nn

class AutoencoderKL(nn.Module):
    def __init__(self, *, ddconfig: dict[str, Any], embed_dim: int) -> None: ...
