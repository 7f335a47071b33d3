"""kohya's UNet class and LoRA network, in a plain loop; its data loading and logging are left out."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from ..data.scene import Scene
from .way import Watch, train_plainly


class Kohya:
    """kohya with --sdpa and mixed precision of the scene's dtype; the weights are those of ours.

    casts: every use of a factor casts it, which autocast does by itself for dtypes that it knows.
    """

    def __init__(
        self, scene: Scene, clone: Path, *, checkpointing: bool = False, casts: bool = False
    ) -> None:
        sys.path.insert(0, str(clone))
        from library import sdxl_original_unet  # pyright: ignore[reportMissingImports]  (the clone's)
        from networks import lora  # pyright: ignore[reportMissingImports]

        self._scene, self._checkpointing, self._casts = scene, checkpointing, casts
        with scene.device, scene.building():
            unet = _make_unet(sdxl_original_unet, scene.unet_config).to(scene.dtype)
        unet.load_state_dict(scene.unet().state_dict())
        self._unet = unet.requires_grad_(False).train()
        self._unet.set_use_sdpa(True)
        if checkpointing:
            self._unet.enable_gradient_checkpointing()
        self._network = lora.create_network(1.0, scene.rank, scene.alpha, None, [], self._unet)
        self._network.apply_to([], self._unet, apply_text_encoder=False, apply_unet=True)
        self._network.to(scene.device, torch.float32).train()
        if casts:
            for layer in self._network.modules():
                if isinstance(layer, nn.Linear):
                    layer.forward = _casting(layer)  # pyright: ignore[reportAttributeAccessIssue]

    def run(self, batch: int, steps: int, watch: Watch) -> None:
        parameters = list(self._network.parameters())
        for lora in self._network.unet_loras:
            nn.init.kaiming_uniform_(lora.lora_down.weight, a=5**0.5)
            nn.init.zeros_(lora.lora_up.weight)
        train_plainly(
            self._scene,
            self._unet,
            parameters,
            batch,
            steps,
            watch,
            autocast=not self._casts,
            noisy_requires_grad=self._checkpointing,
        )

    def weights(self) -> Iterable[Tensor]:
        return [*self._unet.parameters(), *self._network.parameters()]


def _casting(layer: nn.Linear) -> Any:
    return lambda x: nn.functional.linear(x, layer.weight.to(x.dtype))


def _make_unet(module: Any, config: dict[str, Any]) -> Any:
    """An instance of kohya's class; its sizes are constants of its module, so they are patched in."""
    depths = {2: config["transformer_depth"][2], 10: config["transformer_depth"][4]}

    def init(self: Any, *args: Any, num_transformer_layers: int, **kwargs: Any) -> None:
        kwargs["cross_attention_dim"] = config["context_dim"]
        kwargs["attention_head_dim"] = config["num_head_channels"]
        kwargs["num_attention_heads"] = kwargs["in_channels"] // config["num_head_channels"]
        own(self, *args, num_transformer_layers=depths[num_transformer_layers], **kwargs)

    own, width = module.Transformer2DModel.__init__, config["model_channels"]
    sizes = {
        "MODEL_CHANNELS": width,
        "TIME_EMBED_DIM": 4 * width,
        "ADM_IN_CHANNELS": config["adm_in_channels"],
    }
    with mock.patch.multiple(module, **sizes), \
         mock.patch.object(module.Transformer2DModel, "__init__", init):  # fmt: skip
        return module.SdxlUNet2DConditionModel()
