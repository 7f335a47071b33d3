"""peft's LoRA on diffusers' UNet, as diffusers' training script puts it there; its data loading is left out.

That script adapts the four projections of attention alone. So that the work is the same as that of the
others, all linear layers of the transformers are targets here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..data import reduced_sdxl
from ..data.scene import Scene
from .way import Watch, train_plainly

TARGETS = r".*attentions\.\d+\.(proj_in|proj_out|transformer_blocks\..*(to_q|to_k|to_v|to_out\.0|net\.0\.proj|net\.2))"


class Diffusers:
    """diffusers and peft under mixed precision of the scene's dtype. compiled: block by block, as documented.

    The weights are random and its own; their sizes and number are those of ours.
    """

    def __init__(
        self, scene: Scene, *, checkpointing: bool = False, compiled: bool = False
    ) -> None:
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
        from peft import LoraConfig

        self._scene = scene
        with scene.device:
            unet: Any = UNet2DConditionModel(**_config(scene))
            self._unet = unet.to(scene.dtype)
        with torch.no_grad():
            reduced_sdxl.fill(self._unet)
        self._unet.requires_grad_(False).train()
        config = LoraConfig(
            r=scene.rank,
            lora_alpha=scene.alpha,  # pyright: ignore[reportArgumentType]  (it takes any number)
            init_lora_weights="gaussian",
            target_modules=TARGETS,
        )
        self._unet.add_adapter(config)
        self._parameters = [p for p in self._unet.parameters() if p.requires_grad]
        for parameter in self._parameters:
            parameter.data = parameter.data.float()
        if checkpointing:
            self._unet.enable_gradient_checkpointing()
        if compiled:
            self._unet.compile_repeated_blocks(fullgraph=True)

    def run(self, batch: int, steps: int, watch: Watch) -> None:
        scene = self._scene
        train_plainly(scene, self._predict, self._parameters, batch, steps, watch, autocast=True)

    def weights(self) -> Iterable[Tensor]:
        return self._unet.parameters()

    def _predict(self, x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor) -> Tensor:
        pooled, ids = y[:, : self._scene.pooled_width], torch.zeros(len(y), 6, device=y.device)
        more = {"text_embeds": pooled, "time_ids": ids}
        return self._unet(x, timesteps, context, added_cond_kwargs=more, return_dict=False)[0]


def _config(scene: Scene) -> dict[str, Any]:
    """Arguments of diffusers' class for the geometry of the scene."""
    own = scene.unet_config
    widths = tuple(own["model_channels"] * factor for factor in own["channel_mult"])
    cross, plain = "CrossAttn", ""
    return {
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": widths,
        "down_block_types": tuple(f"{kind}DownBlock2D" for kind in (plain, cross, cross)),
        "up_block_types": tuple(f"{kind}UpBlock2D" for kind in (cross, cross, plain)),
        "transformer_layers_per_block": (
            1,
            own["transformer_depth"][2],
            own["transformer_depth"][4],
        ),
        "attention_head_dim": tuple(width // own["num_head_channels"] for width in widths),
        "cross_attention_dim": own["context_dim"],
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": own["adm_in_channels"],
        "use_linear_projection": True,
    }
