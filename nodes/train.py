"""Train: the trainer as a node."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..trainer.cache import CachedDataset
from ..trainer.caption_rules import CaptionOptions
from ..trainer.config import LoraConfig, LossConfig, OptimiserConfig, TrainConfig
from .host.apply import apply_lora
from .host.images import empty_image
from .host.request import Request, preview_problem
from .host.sampling import PreviewSettings
from .host.training import train_lora
from .schema import field, node, output, setting
from .sockets import (
    CacheSocket,
    CaptionSettingsSocket,
    LoraModelSocket,
    LoraSettingsSocket,
    LossMapSocket,
    LossSettingsSocket,
    OptimiserSettingsSocket,
    PreviewSettingsSocket,
)

ABSENT = object()
"""An optional input that nothing is connected to."""

SETTINGS = (
    (LoraSettingsSocket, "lora_settings", "Rank and alpha; without it the defaults."),
    (OptimiserSettingsSocket, "optimiser_settings", "Learning rate; without it the defaults."),
    (LossSettingsSocket, "loss_settings", "Noise and loss; without it the defaults."),
    (PreviewSettingsSocket, "preview_settings", "Previews; without it none are made."),
    (
        CaptionSettingsSocket,
        "caption_settings",
        "Shuffling and dropout of captions; needs CLIP here.",
    ),
)


class Train(io.ComfyNode):
    """Trains an SDXL LoRA on the MODEL that ComfyUI has loaded, in place."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "Train",
            display_name="Train SDXL LoRA",
            description="Trains a LoRA on the loaded MODEL, under ComfyUI's memory manager. The "
            "MODEL stays as it is. The same inputs give the stored result at once.",
            search_aliases=["lora trainer", "train lora", "kohya", "finetune"],
            inputs=[
                field(
                    io.Model, "model", "The SDXL model to train on, as loaded; it is not changed."
                ),
                field(CacheSocket, "cache", "From Cache Latents."),
                field(
                    io.Clip,
                    "clip",
                    "Encodes captions that Cache Latents did not, and preview prompts.",
                    optional=True,
                ),
                field(io.Vae, "vae", "Decodes previews.", optional=True),
                *(field(socket, name, text, optional=True) for socket, name, text in SETTINGS),
                setting(
                    TrainConfig,
                    "steps",
                    "Optimiser steps. Each sees batch size x accumulation pictures.",
                    min=1,
                    max=1000000,
                ),
                setting(
                    TrainConfig,
                    "batch_size",
                    "Pictures per step. When the memory does not hold them they are taken one by "
                    "one, with the same result.",
                    min=1,
                    max=256,
                ),
                setting(
                    TrainConfig,
                    "seed",
                    "Fixes the LoRA's start, the order of pictures, noise and timesteps.",
                    min=0,
                    max=2**53 - 1,
                    control_after_generate=False,
                ),
                setting(
                    TrainConfig,
                    "accumulation",
                    "Batches per step: a larger effective batch without more memory.",
                    min=1,
                    max=1024,
                    advanced=True,
                ),
                setting(
                    TrainConfig,
                    "checkpointing",
                    "Recompute blocks in backward to save memory: auto only when it must, full "
                    "always, off never. The result is the same.",
                    advanced=True,
                ),
                field(
                    io.Boolean,
                    "prefetch_weights",
                    "Experimental: fetch the next layer's weights while one computes, when parts "
                    "of the model lie in RAM. The result is the same.",
                    default=False,
                    advanced=True,
                ),
                setting(
                    TrainConfig,
                    "epochs",
                    "How often all pictures are seen, instead of steps; 0: steps counts.",
                    min=0,
                    max=1000000,
                ),
            ],
            outputs=[
                output(LoraModelSocket, "lora", "The LoRA, for Apply LoRA and Save LoRA."),
                output(io.Model, "model", "The MODEL with the LoRA at strength 1.0."),
                output(LossMapSocket, "loss", "The loss of every step, for Plot Loss."),
                output(
                    io.Image,
                    "previews",
                    "All previews, in order of steps; grey when there are none.",
                ),
                output(io.String, "path", "The LoRA's file in the run's folder."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(
        cls, preview_settings: Any = ABSENT, clip: Any = ABSENT, vae: Any = ABSENT
    ) -> bool | str:
        """Told at Queue, before hours of caching; what is connected comes as None."""
        if preview_settings is ABSENT:
            return True
        return preview_problem(clip=clip is not ABSENT, vae=vae is not ABSENT) or True

    @classmethod
    def execute(
        cls,
        model: Any,
        cache: CachedDataset,
        prefetch_weights: bool,
        clip: Any = None,
        vae: Any = None,
        lora_settings: LoraConfig | None = None,
        optimiser_settings: OptimiserConfig | None = None,
        loss_settings: LossConfig | None = None,
        preview_settings: PreviewSettings | None = None,
        caption_settings: CaptionOptions | None = None,
        **values: Any,
    ) -> io.NodeOutput:
        config = TrainConfig(
            lora=lora_settings or LoraConfig(),
            optimiser=optimiser_settings or OptimiserConfig(),
            loss=loss_settings or LossConfig(),
            captions=caption_settings or CaptionOptions(),
            **values,
        )
        request = Request(
            model, cache, config, clip, vae, preview_settings, prefetch_weights,
            cls.hidden.unique_id,
        )  # fmt: skip
        result, book = train_lora(request)
        trained, _ = apply_lora(model, None, result.lora, 1.0)
        pictures = book.images()
        return io.NodeOutput(
            result.lora,
            trained,
            {"loss": list(result.losses)},
            empty_image() if pictures is None else pictures,
            str(result.path),
            ui={"images": book.results(), "text": [result.summary()]},
        )
