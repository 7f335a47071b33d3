"""Files of weights that a config names: whatever ComfyUI's loaders raise for one that is of no use becomes a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import comfy.model_management as mm
import comfy.sd
import comfy.utils
from torch import Tensor

from ....trainer.runs.start_from import Start
from ..dataset.kohya_import import locate
from ..lora.apply import apply_lora
from ..lora.load import UNUSABLE, read_kohya
from ..model.host_types import Clip, ModelPatcher, Vae

_VAE = "first_stage_model."
"""How a VAE's weights begin in a checkpoint."""


def weight_file(name: str, what: str, places: Sequence[Path]) -> Path:
    """The file that a config names. ValueError where it is missing, or a folder."""
    path = locate(name, what, places)
    if not path.is_file():
        raise ValueError(f"The {what} {path} is a folder; give a single .safetensors file.")
    return path


@contextmanager
def readable(path: Path, what: str) -> Iterator[None]:
    """Inside, an error of a loader is a ValueError that names the file; running out of memory stays."""
    try:
        yield
    except mm.OOM_EXCEPTION:
        raise
    except UNUSABLE as error:
        why = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ValueError(
            f"The {what} {path} cannot be used: {why.strip().rstrip('.')}. Is it whole, and of SDXL?"
        ) from error


def load_checkpoint(path: Path, embeddings: list[str]) -> tuple[ModelPatcher, Clip, Vae]:
    """UNet, text encoders and VAE of a checkpoint. ValueError where it is none, or a part is missing."""
    with readable(path, "checkpoint"):
        model, clip, vae, *_ = comfy.sd.load_checkpoint_guess_config(
            str(path), output_vae=True, output_clip=True, embedding_directory=embeddings
        )
    parts = {"UNet": model, "text encoders": clip, "VAE": vae}
    missing = [name for name, part in parts.items() if part is None]
    if missing:
        raise ValueError(
            f"The checkpoint {path} has no {' and no '.join(missing)}; give a whole SDXL checkpoint."
        )
    return model, clip, vae


def load_weights(path: Path, what: str) -> dict[str, Tensor]:
    """The tensors of a file. ValueError where there are none."""
    with readable(path, what):
        found = comfy.utils.load_torch_file(str(path), safe_load=True)
    if not found:
        raise ValueError(f"The {what} {path} holds no weights.")
    return found


def load_vae(path: Path) -> Vae:
    """The VAE of a file of its own or, as in kohya, of a checkpoint. ValueError where there is none."""
    weights = load_weights(path, "vae")
    inside = {
        name.removeprefix(_VAE): tensor for name, tensor in weights.items() if name.startswith(_VAE)
    }
    with readable(path, "vae"):
        vae = comfy.sd.VAE(sd=inside or weights)
    if vae.first_stage_model is None:
        raise ValueError(f"The vae {path} is no VAE; give SDXL's, or take it out of the config.")
    return vae


def load_start(path: Path) -> Start:
    """The LoRA that training starts from. ValueError where it is none of SDXL."""
    with readable(path, "LoRA"):
        return Start(read_kohya(path))


def with_lora(
    model: ModelPatcher, clip: Clip, path: Path, strength: float
) -> tuple[ModelPatcher, Clip]:
    """Both with a LoRA merged in. ValueError where it does not fit them."""
    lora = load_weights(path, "LoRA")
    with readable(path, "LoRA"):
        return apply_lora(model, clip, lora, strength)
