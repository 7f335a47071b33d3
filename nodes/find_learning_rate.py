"""Find Learning Rate: a rate to begin with, from a short training at a rising one."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..trainer.cache.latents import CachedDataset
from ..trainer.config.train import TrainConfig
from .host.comparing.rate_finder import find_rate
from .host.model.host_types import Clip, ModelPatcher
from .host.model.vae import to_image
from .host.training.from_inputs import base_of
from .host.training.request import Request
from .schema import Node, field, node, output, setting
from .sockets import (
    CacheSocket,
    CaptionSettingsSocket,
    LoraSettingsSocket,
    LossSettingsSocket,
    OptimiserSettingsSocket,
    RunSettingsSocket,
    SpeedSettingsSocket,
    ValidationSettingsSocket,
)

STEPS = 60


class FindLearningRate(Node):
    """Trains for some dozen steps at a rising learning rate and looks where the held-out loss falls fastest."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "FindLearningRate",
            display_name="Find Learning Rate",
            description="Trains shortly at a learning rate that rises from step to step, measures held-out "
            "images with the same noise all along, and suggests the rate at which their loss falls fastest. "
            "The MODEL stays as it is and no run is made.",
            search_aliases=["lr finder", "learning rate range test", "which learning rate"],
            inputs=[
                field(io.Model, "model", "The SDXL model to train on; it is not changed."),
                field(CacheSocket, "cache", "From Cache Latents."),
                field(
                    io.Clip,
                    "clip",
                    "Encodes captions that Cache Latents did not; its text encoders can be trained too.",
                    optional=True,
                ),
                field(
                    LoraSettingsSocket,
                    "lora_settings",
                    "As on Train; without it the defaults.",
                    optional=True,
                ),
                field(
                    OptimiserSettingsSocket,
                    "optimiser_settings",
                    "As on Train; its learning rate and schedule do not count.",
                    optional=True,
                ),
                field(
                    LossSettingsSocket,
                    "loss_settings",
                    "As on Train; without it the defaults.",
                    optional=True,
                ),
                field(
                    CaptionSettingsSocket,
                    "caption_settings",
                    "As on Train; without it the defaults.",
                    optional=True,
                ),
                field(
                    ValidationSettingsSocket,
                    "validation_settings",
                    "Which images are held out; without it a quarter, at most 6.",
                    optional=True,
                ),
                field(
                    SpeedSettingsSocket,
                    "speed_settings",
                    "As on Train; without it the defaults.",
                    optional=True,
                ),
                field(
                    RunSettingsSocket,
                    "run_settings",
                    "From Import kohya Config: what is not connected comes from it.",
                    optional=True,
                ),
                field(
                    io.Int,
                    "steps",
                    "Of each short training.",
                    default=STEPS,
                    min=20,
                    max=500,
                ),
                field(
                    io.Float,
                    "lowest",
                    "The learning rate of the first step.",
                    default=1e-6,
                    min=1e-8,
                    max=1.0,
                    step=1e-6,
                    round=False,
                ),
                field(
                    io.Float,
                    "highest",
                    "The learning rate of the last step: one that is too high is meant.",
                    default=1e-2,
                    min=1e-7,
                    max=10.0,
                    step=1e-3,
                    round=False,
                ),
                field(
                    io.Int,
                    "repeats",
                    "So many short trainings, each with another seed: the spread of the suggestion.",
                    default=2,
                    min=1,
                    max=5,
                ),
                setting(
                    TrainConfig,
                    "batch_size",
                    "Images per batch, as on Train. Where run_settings is connected, its batch size applies.",
                    min=1,
                    max=256,
                ),
            ],
            outputs=[
                output(io.Float, "learning_rate", "The suggestion, for learning_rate of Train."),
                output(io.Image, "plot", "The held-out loss by learning rate."),
                output(io.String, "report", "The suggestion with its spread, and how it was made."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls, model: ModelPatcher, cache: CachedDataset, clip: Clip | None = None, **inputs: Any
    ) -> io.NodeOutput:
        bounds = inputs.pop("lowest"), inputs.pop("highest"), inputs.pop("repeats")
        config = base_of(inputs)
        request = Request(model, cache, config, clip=clip, node_id=cls.hidden.unique_id)
        found = find_rate(request, *bounds)
        outputs = found.rate, to_image(found.plot), found.report
        return io.NodeOutput(*outputs, ui={"text": [found.report]})
