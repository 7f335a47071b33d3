from typing import Any

from torch import nn

class SDClipModel(nn.Module):
    def __init__(self, **arguments: Any) -> None: ...
    def load_sd(self, sd: dict[str, Any]) -> Any: ...
