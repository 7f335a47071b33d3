from typing import Any

from torch import Tensor

class VAE:
    def __init__(self, sd: dict[str, Tensor], *, config: dict[str, Any] | None = None) -> None: ...
    patcher: Any
    first_stage_model: Any

    def encode(self, pixel_samples: Tensor) -> Tensor: ...
    def encode_tiled(self, pixel_samples: Tensor) -> Tensor: ...
    def decode(self, samples_in: Tensor) -> Tensor: ...

def load_checkpoint_guess_config(
    ckpt_path: str,
    output_vae: bool = True,
    output_clip: bool = True,
    *,
    embedding_directory: list[str] | None = None,
) -> tuple[Any, Any, Any, Any]: ...
def load_lora_for_models(
    model: Any, clip: Any, lora: dict[str, Tensor], strength_model: float, strength_clip: float
) -> tuple[Any, Any]: ...
