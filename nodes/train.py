"""Train: the trainer as a node."""

from __future__ import annotations

from typing import Any, get_args

from comfy_api.latest import io

from ..trainer.cache.latents import CachedDataset
from ..trainer.config.lora import LoraConfig
from ..trainer.config.optimiser import OptimiserConfig
from ..trainer.config.optimisers import OptimiserType
from ..trainer.config.speed import SpeedConfig
from ..trainer.config.train import TrainConfig
from .host.lora.apply import apply_lora
from .host.model.host_types import Clip, ModelPatcher
from .host.training.first_step import read_seen
from .host.training.from_inputs import given_by
from .host.training.request import Request, preview_problem
from .host.training.train import train_lora
from .host.training.trainings import outputs_of
from .schema import Node, field, node, output, setting
from .sockets import (
    CacheSocket,
    CaptionSettingsSocket,
    CheckpointSettingsSocket,
    EmbeddingSettingsSocket,
    LoraModelSocket,
    LoraSettingsSocket,
    LossMapSocket,
    LossSettingsSocket,
    OptimiserSettingsSocket,
    PreviewSettingsSocket,
    RunSettingsSocket,
    SpeedSettingsSocket,
    ValidationSettingsSocket,
)

ABSENT = object()
"""An optional input that nothing is connected to."""

SETTINGS = (
    (
        LoraSettingsSocket,
        "lora_settings",
        "Rank, alpha and all else of the LoRA; without it rank and alpha below.",
    ),
    (
        OptimiserSettingsSocket,
        "optimiser_settings",
        "Learning rate, schedule and all else of the optimiser; without it learning_rate and optimiser below.",
    ),
    (LossSettingsSocket, "loss_settings", "Noise and loss; without it the defaults."),
    (PreviewSettingsSocket, "preview_settings", "Previews; without it none are made."),
    (
        CaptionSettingsSocket,
        "caption_settings",
        "Shuffling and dropout of captions; needs CLIP here.",
    ),
    (
        CheckpointSettingsSocket,
        "checkpoint_settings",
        "Intermediate LoRA files; without it none are written.",
    ),
    (
        ValidationSettingsSocket,
        "validation_settings",
        "Held-out images, when to stop, what is best; without it all images are trained on.",
    ),
)


class Train(Node):
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
                    "Encodes captions that Cache Latents did not, and preview prompts; its text "
                    "encoders can be trained too.",
                    optional=True,
                ),
                field(io.Vae, "vae", "Decodes previews and what the model saw.", optional=True),
                *(field(socket, name, text, optional=True) for socket, name, text in SETTINGS),
                setting(
                    TrainConfig,
                    "steps",
                    "Optimiser steps, each of batch size x accumulation images: 1000 to 5000, of which "
                    "a character needs fewer and a style more.",
                    min=1,
                    max=1000000,
                ),
                setting(
                    TrainConfig,
                    "batch_size",
                    "Images per batch. When the memory does not hold them the batch is split into "
                    "smaller parts, with the same result apart from rounding.",
                    min=1,
                    max=256,
                ),
                setting(
                    TrainConfig,
                    "seed",
                    "Fixes the LoRA's start, the order of images, noise and timesteps.",
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
                    "Recompute blocks in backward to save memory: auto only as far as it must, after "
                    "trying compact layers; full always, off never. The result is the same apart from rounding.",
                    advanced=True,
                ),
                setting(
                    SpeedConfig,
                    "prefetch_weights",
                    "No longer does anything: weights that lie in RAM come while other layers compute "
                    "without it. It stays for saved workflows.",
                    advanced=True,
                ),
                setting(
                    TrainConfig,
                    "epochs",
                    "How often all images are seen, instead of steps; 0: steps applies.",
                    min=0,
                    max=1000000,
                    advanced=True,
                ),
                field(
                    io.Boolean,
                    "continue_stopped",
                    "After Stop and keep: off returns what was kept; on trains the remaining steps.",
                    default=False,
                    advanced=True,
                ),
                field(
                    io.String,
                    "continue_from",
                    "The name of an earlier run (Runs lists them): begin a new run with its LoRA, after "
                    "changes of images or settings. Empty: start from scratch.",
                    default="",
                    advanced=True,
                ),
                field(
                    RunSettingsSocket,
                    "run_settings",
                    "From Import kohya Config: overrides steps, epochs, batch_size, accumulation, "
                    "seed, checkpointing and compact. "
                    "Settings that are not connected come from it, too.",
                    optional=True,
                ),
                field(
                    LoraModelSocket,
                    "start_from",
                    "A LoRA to go on training, from Load LoRA for Training or Train (kohya: "
                    "network_weights); without it a new one is begun.",
                    optional=True,
                ),
                setting(
                    TrainConfig,
                    "compact",
                    "Always keep 40 % less of the activations for backward, recomputing only what is "
                    "cheap; off leaves it to checkpointing on auto. The result is the same apart from "
                    "rounding. For plain LoRA without dropouts.",
                    advanced=True,
                ),
                field(
                    SpeedSettingsSocket,
                    "speed_settings",
                    "Ways to be faster or smaller; without it the defaults.",
                    optional=True,
                ),
                setting(
                    LoraConfig,
                    "rank",
                    "How much the LoRA can hold: 8 to 32 for a character, 32 and more for a style. "
                    "Where LoRA Settings is connected, its rank applies.",
                    min=1,
                    max=1024,
                ),
                setting(
                    LoraConfig,
                    "alpha",
                    "The LoRA is scaled by alpha / rank: equal to rank means no scaling. Where LoRA "
                    "Settings is connected, its alpha applies.",
                    min=0.01,
                    max=1024.0,
                    step=0.01,
                ),
                setting(
                    OptimiserConfig,
                    "learning_rate",
                    "How far each step goes: 3e-5 is safe over thousands of steps, 1e-4 is quick. "
                    "Where Optimiser Settings is connected, its rate applies.",
                    min=1e-8,
                    max=1.0,
                    step=1e-6,
                    round=False,
                ),
                field(
                    io.Combo,
                    "optimiser",
                    "kohya's optimizer_type. Prodigy and the DAdapt kinds find the learning rate "
                    "themselves: set it to 1. Where Optimiser Settings is connected, its optimiser applies.",
                    options=list(get_args(OptimiserType)),
                    default=OptimiserConfig().type,
                ),
                field(
                    io.Boolean,
                    "give_way",
                    "Let other prompts run as soon as they wait: the training keeps its state, ends its "
                    "turn, and goes on by itself afterwards, with the same result.",
                    default=False,
                    optional=True,
                    advanced=True,
                ),
                field(
                    EmbeddingSettingsSocket,
                    "embedding_settings",
                    "Train an embedding, alone or with the LoRA; needs CLIP here.",
                    optional=True,
                ),
            ],
            outputs=[
                output(LoraModelSocket, "lora", "The LoRA, for Apply LoRA and Save LoRA."),
                output(io.Model, "model", "The MODEL with the LoRA at strength 1.0."),
                output(LossMapSocket, "loss", "The loss of every step, for Plot Loss."),
                output(
                    io.Image,
                    "previews",
                    "All previews, in order of steps, or a sheet per prompt when there are several "
                    "strengths; a picture that says so when there are none.",
                ),
                output(io.String, "path", "The LoRA's file in the run's folder."),
                output(
                    LoraModelSocket,
                    "best",
                    "The LoRA of the best validation; the last one unless keep_best is on.",
                ),
                output(
                    io.Image,
                    "seen",
                    "What the model saw: the images of the first step, decoded from the cache as "
                    "cropped and flipped; a picture that says so without a VAE.",
                ),
                output(
                    io.String,
                    "seen_captions",
                    "The texts of the first step, as shuffled and dropped, with each image's name "
                    "and bucket.",
                ),
                output(io.Clip, "clip", "The CLIP with the LoRA at strength 1.0, when connected."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(
        cls, preview_settings: object = ABSENT, clip: object = ABSENT, vae: object = ABSENT
    ) -> bool | str:
        """Told at Queue, before hours of caching; what is connected comes as None."""
        if preview_settings is ABSENT:
            return True
        return preview_problem(clip=clip is not ABSENT, vae=vae is not ABSENT) or True

    @classmethod
    def execute(
        cls, model: ModelPatcher, cache: CachedDataset, clip: Clip | None = None, **inputs: Any
    ) -> io.NodeOutput:
        request = Request(model, cache, clip=clip, node_id=cls.hidden.unique_id, **given_by(inputs))
        result, book = train_lora(request)
        trained, trained_clip = apply_lora(model, clip, result.lora, 1.0)
        previews, seen = book.shown(), read_seen(result.path.parent)
        best = result.lora if result.best is None else result.best
        files = str(result.path) if result.written else "", best
        outputs = result.lora, trained, result.loss_map(), previews, *files, *seen, trained_clip
        return io.NodeOutput(*outputs, ui=outputs_of(result, book))
