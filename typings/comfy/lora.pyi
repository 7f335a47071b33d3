from typing import Any

from torch import Tensor

def calculate_weight(patches: Any, weight: Tensor, key: str) -> Tensor: ...
