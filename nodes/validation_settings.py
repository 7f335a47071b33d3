"""Validation Settings: images that are not trained on, and what follows from them."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..trainer.config.validation import ValidationConfig
from .schema import Node, node, output, setting
from .sockets import ValidationSettingsSocket


class ValidationSettings(Node):
    """Held-out images: how good the LoRA gets on them, when to stop, which step to keep."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "ValidationSettings",
            display_name="Validation Settings",
            description="Holds images out of training and measures on them how the LoRA does: "
            "the same noise each time, as a difference to the start. Can keep the best step and "
            "stop when it gets no better.",
            search_aliases=["validation loss", "early stopping", "keep best", "overfitting"],
            inputs=[
                setting(
                    ValidationConfig,
                    "held_out",
                    "Below 1 the share of the training images that are only measured, else "
                    "their number; 0 for none.",
                    min=0.0,
                    max=10000.0,
                    step=0.05,
                    round=False,
                ),
                setting(
                    ValidationConfig,
                    "every",
                    "Steps between validations; 0: not by steps.",
                    min=0,
                    max=1000000,
                ),
                setting(
                    ValidationConfig,
                    "patience",
                    "So many validations in a row without improvement end the training; 0: never.",
                    min=0,
                    max=10000,
                ),
                setting(
                    ValidationConfig,
                    "keep_best",
                    "Keep the LoRA of the best validation: it comes out of Train as best.",
                ),
                setting(
                    ValidationConfig,
                    "every_epochs",
                    "Epochs between validations; 0: not by epochs.",
                    min=0,
                    max=1000000,
                    advanced=True,
                ),
                setting(
                    ValidationConfig,
                    "timesteps",
                    "Measurements of each image, spread evenly over the timesteps.",
                    min=2,
                    max=100,
                    advanced=True,
                ),
                setting(
                    ValidationConfig,
                    "max_pictures",
                    "Measure at most so many of the held-out images; 0: all.",
                    min=0,
                    max=10000,
                    advanced=True,
                ),
                setting(
                    ValidationConfig,
                    "seed",
                    "Fixes which images are held out, and their noise.",
                    min=0,
                    max=2**53 - 1,
                    control_after_generate=False,
                    advanced=True,
                ),
            ],
            outputs=[output(ValidationSettingsSocket, "validation settings", "For Train.")],
        )

    @classmethod
    def execute(cls, **values: Any) -> io.NodeOutput:
        return io.NodeOutput(ValidationConfig(**values))
