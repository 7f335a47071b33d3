"""The difference of two MODELs, and of their CLIPs, as a LoRA."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import comfy.lora
import comfy.model_base
import comfy.model_management as mm
import torch
from torch import Tensor

from ....trainer.config.lora import LoraConfig
from ....trainer.lora_files.file import LoraModel
from ....trainer.lora_files.names import ENCODER_LAYER, FIRST_ENCODER, SECOND_ENCODER
from ....trainer.lora_tools.extract import ROUNDS, extract
from ....trainer.lora_tools.factors import as_tensors
from ....trainer.lora_tools.metadata import PLAIN, merged
from ....trainer.lora_tools.report import error_text, size_text
from ....trainer.lora_tools.resize import Kept, Size
from ....trainer.network.unet_targets import find_targets
from ..model.checkpoint_file import model_file, model_name
from ..model.host_types import Clip, ModelPatcher, Patcher
from ..progress import NodeProgress, check_interrupt
from .tools import Made

MEASURED = f"measured on the weights; randomised SVD of {ROUNDS} rounds, whose draws are the same each time"
_WEIGHT = ".weight"
_ENCODERS = {"clip_l.transformer.": FIRST_ENCODER, "clip_g.transformer.": SECOND_ENCODER}
_COPIES = 8
"""So many layers of the largest size may lie on the device at once: both weights, what is between, and the SVD's own."""


class _Layer(NamedTuple):
    """A weight that both have: its name in a LoRA, its key in the models."""

    stem: str
    key: str


class _Side(NamedTuple):
    """One of the two that are compared."""

    patcher: Patcher
    weights: Mapping[str, Any]
    """By key, the weight with what makes numbers of it, then the patches on it: ComfyUI's get_key_patches."""


def extracted(
    base: ModelPatcher,
    tuned: ModelPatcher,
    size: Size,
    clips: tuple[Clip | None, Clip | None],
    node_id: str | None,
) -> Made:
    """The LoRA that turns ``base`` into ``tuned``, as nearly as the rank allows.

    Patches of both count: a merge of checkpoints or LoRAs on a MODEL can be extracted too.
    Convolutions of 3 x 3 count where ``size`` has a rank for them. clips: of base and tuned, both or none.

    Raises:
        ValueError: a MODEL is no SDXL model, only one CLIP is given, or nothing differs.
    """
    for patcher in (base, tuned):
        _check(patcher)
    pairs = [(_sides(base, tuned), list(_unet_layers(base, size)))]
    pairs += _text_pairs(*clips)
    bar = NodeProgress(sum(len(layers) for _, layers in pairs), node_id)
    found: dict[str, Kept] = {}
    done = 0
    for sides, layers in pairs:
        for layer in layers:
            check_interrupt()
            kept = _extract(sides, layer, size)
            if kept is not None:
                found[layer.stem] = kept
            done += 1
            bar.update(done)
    if not found:
        raise ValueError(
            "The two MODELs have the same weights in all layers that a LoRA can change: connect the "
            "checkpoint that was trained on as base, and the other one as tuned."
        )
    layers = {stem: one.layer for stem, one in found.items()}
    how = f"extracted at rank {size.rank}, energy {size.energy:g}: {_named(tuned)} less {_named(base)}"
    lora = LoraModel(as_tensors(layers), merged([PLAIN | _known(base)], layers, how))
    lines = [
        f"{size_text(lora)} at fp16; {len(found)} of {done} layers differ",
        error_text(found, MEASURED),
    ]
    return Made(lora, "\n".join(lines))


def _known(base: ModelPatcher) -> dict[str, str]:
    """kohya's keys of the checkpoint that the LoRA is for."""
    file = model_file(base)
    return {} if file is None or base.patches else file.metadata()


def _named(patcher: ModelPatcher) -> str:
    name = model_name(patcher) or "a MODEL"
    return f"{name} with patches" if patcher.patches else name


def _check(patcher: ModelPatcher) -> None:
    model = patcher.model
    if not isinstance(model, comfy.model_base.SDXL):
        raise ValueError(
            f"A MODEL of the kind {type(model).__name__} is connected; Extract LoRA compares SDXL models."
        )
    if getattr(patcher, "injections", None):
        raise ValueError(
            "A MODEL carries a LoRA loaded in bypass mode, which is no change of its weights. Load that "
            "LoRA without bypass, or connect the MODEL from before it."
        )


def _sides(base: Patcher, tuned: Patcher) -> tuple[_Side, _Side]:
    return _Side(base, base.get_key_patches()), _Side(tuned, tuned.get_key_patches())


def _unet_layers(base: ModelPatcher, size: Size) -> Iterator[_Layer]:
    config = LoraConfig(rank=size.rank, conv_rank=size.conv_rank)
    for target in find_targets(base.model.diffusion_model, config):
        yield _Layer(target.key, f"diffusion_model.{target.path}{_WEIGHT}")


def _text_pairs(
    base: Clip | None, tuned: Clip | None
) -> list[tuple[tuple[_Side, _Side], list[_Layer]]]:
    if base is None and tuned is None:
        return []
    if base is None or tuned is None:
        raise ValueError(
            "Only one CLIP is connected. Connect base_clip and tuned_clip, or neither for the UNet alone."
        )
    sides = _sides(base.patcher, tuned.patcher)
    layers = [
        _Layer(prefix + path.replace(".", "_"), key)
        for start, prefix in _ENCODERS.items()
        for key in sides[0].weights
        if key.startswith(start) and key.endswith(_WEIGHT)
        for path in [key.removeprefix(start).removesuffix(_WEIGHT)]
        if ENCODER_LAYER.fullmatch(path.replace(".", "_"))
    ]
    return [(sides, layers)]


def _extract(sides: tuple[_Side, _Side], layer: _Layer, size: Size) -> Kept | None:
    base, tuned = (side.weights.get(layer.key) for side in sides)
    if base is None or tuned is None or base[0][0].shape != tuned[0][0].shape:
        raise ValueError(
            f"The two models are not built alike: {layer.key} is missing in one or has another size. "
            "Connect two SDXL models of one architecture."
        )
    if len(base) == len(tuned) == 1 and base[0][0] is tuned[0][0]:
        return None  # the one weight of two clones
    device = sides[0].patcher.load_device
    if not mm.is_device_cpu(device):
        mm.free_memory(_COPIES * 4 * base[0][0].numel(), device)
    change = _weight(tuned, layer.key, device) - _weight(base, layer.key, device)
    return extract(change, size, layer.stem)


def _weight(patches: Any, key: str, device: torch.device) -> Tensor:
    """The weight that is computed with, in float32: stored numbers, their scale, then patches."""
    (stored, convert), *others = patches
    weight = convert(stored.detach().to(device))
    if hasattr(weight, "dequantize") and type(weight) not in (Tensor, torch.nn.Parameter):
        weight = weight.dequantize()
    weight = weight.to(torch.float32, copy=True)
    return comfy.lora.calculate_weight(others, weight, key) if others else weight
