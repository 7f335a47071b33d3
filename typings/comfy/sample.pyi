from collections.abc import Callable
from typing import Any

from torch import Tensor

def prepare_noise(latent_image: Tensor, seed: int) -> Tensor: ...
def sample(
    model: Any,
    noise: Tensor,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive: list[Any],
    negative: list[Any],
    latent_image: Tensor,
    *,
    callback: Callable[[int, Tensor, Tensor, int], None] | None = None,
    disable_pbar: bool = False,
    seed: int | None = None,
) -> Tensor: ...
