from typing import Any

from PIL import Image
from torch import Tensor

class ProgressBar:
    def __init__(self, total: int, *, node_id: str | None = None) -> None: ...
    def update_absolute(
        self,
        value: int,
        total: int | None = None,
        preview: tuple[str, Image.Image, int | None] | None = None,
    ) -> None: ...

def load_torch_file(ckpt: str, *, safe_load: bool = False) -> dict[str, Tensor]: ...
def save_torch_file(
    sd: dict[str, Tensor], ckpt: str, metadata: dict[str, Any] | None = None
) -> None: ...
