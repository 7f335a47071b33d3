"""Train Slider: a LoRA from two prompts and no image, whose strength moves images between them."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..trainer.config.slider import SliderConfig
from ..trainer.config.train import TrainConfig
from .host.model.host_types import Clip, ModelPatcher
from .host.slider import slider_request
from .host.training.train import train_lora
from .schema import Node, field, node, output, setting
from .sockets import (
    LoraModelSocket,
    LoraSettingsSocket,
    LossMapSocket,
    OptimiserSettingsSocket,
    PreviewSettingsSocket,
)

RANK = 4
RESOLUTION = 512
"""Both as the sliders' authors have them (rohitgandikota/sliders, config-xl.yaml and prompts-xl.yaml)."""
STEPS = 500
LEARNING_RATE = 1e-4
"""Theirs are 1000 steps at 2e-4, with an alpha of a quarter of the rank: as far in all."""


class TrainSlider(Node):
    """Trains a concept slider on the MODEL that ComfyUI has loaded, in place."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "TrainSlider",
            display_name="Train Slider",
            description="Trains a LoRA without images, from two prompts: a positive strength moves images "
            "towards the one, a negative strength towards the other. The MODEL stays as it is and is its own "
            "teacher.",
            search_aliases=["concept slider", "leco", "erase concept", "lora without images"],
            inputs=[
                field(io.Model, "model", "The SDXL model to train on; it is not changed."),
                field(io.Clip, "clip", "Encodes the prompts; it is not changed."),
                setting(
                    SliderConfig,
                    "target",
                    "What the slider changes, such as 1girl or car. Empty: every image.",
                    multiline=True,
                ),
                setting(
                    SliderConfig,
                    "positive",
                    "What a strength of 1 shows more of: the target and what is wanted, such as 1girl, smile.",
                    multiline=True,
                ),
                setting(
                    SliderConfig,
                    "negative",
                    "What a strength of -1 shows more of: the target and the opposite, such as 1girl, frown.",
                    multiline=True,
                ),
                field(io.Vae, "vae", "Decodes previews.", optional=True),
                field(
                    LoraSettingsSocket,
                    "lora_settings",
                    "Rank, algorithm and all else of the LoRA; without it the rank below.",
                    optional=True,
                ),
                field(
                    OptimiserSettingsSocket,
                    "optimiser_settings",
                    "Learning rate, schedule and all else of the optimiser; without it the rate below.",
                    optional=True,
                ),
                field(
                    PreviewSettingsSocket,
                    "preview_settings",
                    "Previews, best at strengths such as -1, 0, 1; without it none are made.",
                    optional=True,
                ),
                setting(
                    SliderConfig,
                    "guidance",
                    "How far a strength of 1 goes: the difference between both prompts times this number.",
                    min=0.1,
                    max=20.0,
                    step=0.1,
                ),
                field(
                    io.Int,
                    "steps",
                    "Optimiser steps: 300 to 1000.",
                    default=STEPS,
                    min=1,
                    max=1000000,
                ),
                field(
                    io.Int,
                    "rank",
                    "How much the slider can hold; its alpha is the same. Where LoRA Settings is connected, "
                    "theirs apply.",
                    default=RANK,
                    min=1,
                    max=1024,
                    advanced=True,
                ),
                field(
                    io.Float,
                    "learning_rate",
                    "How far each step goes. Where Optimiser Settings is connected, its rate applies.",
                    default=LEARNING_RATE,
                    min=1e-8,
                    max=1.0,
                    step=1e-6,
                    round=False,
                    advanced=True,
                ),
                field(
                    io.Int,
                    "resolution",
                    "Side of the squares that the model draws to learn from.",
                    default=RESOLUTION,
                    min=64,
                    max=2048,
                    step=64,
                    advanced=True,
                ),
                field(
                    io.Int,
                    "batch_size",
                    "So many of them in a step.",
                    default=1,
                    min=1,
                    max=256,
                    advanced=True,
                ),
                setting(
                    TrainConfig,
                    "seed",
                    "Fixes the LoRA's start, noise and timesteps.",
                    min=0,
                    max=2**53 - 1,
                    control_after_generate=False,
                    advanced=True,
                ),
                setting(
                    SliderConfig,
                    "sampling_steps",
                    "In so many steps the model draws what it learns from: more are more exact and slower.",
                    min=1,
                    max=100,
                    advanced=True,
                ),
            ],
            outputs=[
                output(LoraModelSocket, "lora", "The slider, for Apply LoRA and Save LoRA."),
                output(LossMapSocket, "loss", "The loss of every step, for Plot Loss."),
                output(
                    io.Image,
                    "previews",
                    "All previews, in order of steps, or a sheet per prompt when there are several "
                    "strengths; a picture that says so when there are none.",
                ),
                output(io.String, "report", "How many steps there were, and the last loss."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model: ModelPatcher, clip: Clip, **inputs: Any) -> io.NodeOutput:
        request = slider_request(model, clip, cls.hidden.unique_id, inputs)
        result, book = train_lora(request)
        outputs = result.lora, result.loss_map(), book.shown(), result.summary()
        return io.NodeOutput(*outputs, ui={"text": [result.summary()]})
