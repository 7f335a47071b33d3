"""A MODEL's weights with a LoRA on top, computed layer by layer as they are asked for: nothing is moved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import comfy.lora
import torch
from torch import Tensor, nn

from ....trainer.frozen.weights import WeightPair
from ....trainer.lora_files.file import LoraModel
from ....trainer.lora_files.formats import by_layer, to_kohya
from ....trainer.lora_tools.factors import check_finite
from ..lora.apply import MaybeClip, apply_lora
from ..model.host_types import Clip, ModelPatcher
from ..model.unet import UNET
from ..model.weights import ComfyWeights


class _Patch(NamedTuple):
    key: str
    """ComfyUI's, of the weight or bias."""
    steps: list[Any]
    """What ComfyUI's own loader made of the LoRA for it."""

    def on(self, stored: Tensor) -> Tensor:
        """What the layer computes with, as ComfyUI adds it up: in float32, then rounded."""
        wide = stored.to(torch.float32, copy=True)
        return comfy.lora.calculate_weight(self.steps, wide, self.key).to(stored.dtype)


class LoraWeights:
    """`Weights` of a MODEL with a LoRA at a strength; of any kind that ComfyUI's loader knows.

    A layer's weight is added up when it is borrowed, so that one LoRA and strength after another is put
    on without loading the MODEL again. What was added up is kept while the weights are held, as far as
    there is room for it.
    """

    def __init__(self, unet: nn.Module, patches: Mapping[str, list[Any]]) -> None:
        """patches: by ComfyUI's key, what the LoRA adds."""
        self._below = ComfyWeights()
        self.room = 0.0
        """Bytes that may be taken for weights that are kept."""
        self._kept: dict[tuple[nn.Module, torch.dtype], WeightPair] = {}
        self._patches: dict[nn.Module, dict[str, _Patch]] = {}
        for key, steps in patches.items():
            path, _, name = key.removeprefix(f"{UNET}.").rpartition(".")
            self._patches.setdefault(unet.get_submodule(path), {})[name] = _Patch(key, steps)

    @contextmanager
    def hold(self, modules: Iterable[nn.Module]) -> Iterator[int]:
        """As `Weights` says."""
        try:
            with self._below.hold(modules) as held:
                yield held
        finally:
            self._kept = {}

    @contextmanager
    def borrow(
        self, module: nn.Module, dtype: torch.dtype, device: torch.device
    ) -> Iterator[WeightPair]:
        """As `Weights` says."""
        patches, kept = self._patches.get(module), self._kept.get((module, dtype))
        if kept is not None:
            yield kept
            return
        with self._below.borrow(module, dtype, device) as (weight, bias):
            if patches is None:
                yield weight, bias
                return
            if "weight" in patches:
                weight = patches["weight"].on(weight)
            if "bias" in patches and bias is not None:
                bias = patches["bias"].on(bias)
            self._keep((module, dtype), weight, bias)
            yield weight, bias

    def _keep(
        self, key: tuple[nn.Module, torch.dtype], weight: Tensor, bias: Tensor | None
    ) -> None:
        """Keep copies of what was made for one use, where there is room."""
        needed = weight.nbytes + (0 if bias is None else bias.nbytes)
        if needed <= self.room:
            self.room -= needed
            self._kept[key] = weight.clone(), None if bias is None else bias.clone()


def check_usable(model: ModelPatcher, clip: Clip | None, lora: Mapping[str, Tensor]) -> None:
    """Raise ValueError for a LoRA that holds what is no finite number, or as `apply_lora`."""
    for stem, parts in by_layer(to_kohya(lora, getattr(lora, "metadata", None))).items():
        check_finite(stem, parts.values())
    apply_lora(model, clip, lora, 1.0)


def put_on(
    model: ModelPatcher, clip: MaybeClip, lora: Mapping[str, Tensor] | None, strength: float
) -> tuple[LoraWeights, MaybeClip]:
    """The weights of the MODEL with the LoRA, and the CLIP with it: the given one where the LoRA has no part for it.

    Raises:
        ValueError: as `apply_lora`.
    """
    unet = model.model.diffusion_model
    if lora is None or strength == 0:
        return LoraWeights(unet, {}), clip
    near = {key: value.to(model.load_device) for key, value in lora.items()}
    lora = LoraModel(near, getattr(lora, "metadata", {}))
    patched, patched_clip = apply_lora(model, clip, lora, strength)
    if clip is not None and patched_clip is not None:
        mine, theirs = clip.patcher.patches, patched_clip.patcher.patches
        if all(len(steps) == len(mine.get(key, ())) for key, steps in theirs.items()):
            patched_clip = clip
    before = {key: len(steps) for key, steps in model.patches.items()}
    added = {key: list(steps[before.get(key, 0) :]) for key, steps in patched.patches.items()}
    return LoraWeights(unet, {key: steps for key, steps in added.items() if steps}), patched_clip
