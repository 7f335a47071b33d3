"""Checkpoint Settings: intermediate LoRA files."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..trainer.config.checkpoints import CheckpointConfig
from .schema import Node, node, output, setting
from .sockets import CheckpointSettingsSocket


class CheckpointSettings(Node):
    """When intermediate LoRA files are saved, and how many of them stay."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "CheckpointSettings",
            display_name="Checkpoint Settings",
            description="Saves intermediate LoRA files in the folder of the run, with kohya's names. "
            "Changing this does not retrain.",
            search_aliases=["save every n steps", "save every n epochs", "intermediate lora"],
            inputs=[
                setting(
                    CheckpointConfig,
                    "every_epochs",
                    "Epochs from one checkpoint to the next (kohya: save_every_n_epochs); 0 for none.",
                    min=0,
                    max=1000000,
                ),
                setting(
                    CheckpointConfig,
                    "every_steps",
                    "Steps from one checkpoint to the next (kohya: save_every_n_steps); 0 for none.",
                    min=0,
                    max=1000000,
                ),
                setting(
                    CheckpointConfig,
                    "name",
                    "Begins the name of every file (kohya: output_name). Empty: epoch and at, as "
                    "kohya has it.",
                ),
                setting(
                    CheckpointConfig,
                    "keep_last_epochs",
                    "Keep so many checkpoints of epochs (kohya: save_last_n_epochs); 0 for all.",
                    min=0,
                    max=1000000,
                    advanced=True,
                ),
                setting(
                    CheckpointConfig,
                    "keep_last_steps",
                    "Keep the checkpoints of about so many last steps (kohya: save_last_n_steps); "
                    "0 for all.",
                    min=0,
                    max=1000000,
                    advanced=True,
                ),
                setting(
                    CheckpointConfig,
                    "every_minutes",
                    "Also after so many minutes without a checkpoint, named by the step; 0 for none. "
                    "These all stay.",
                    min=0.0,
                    max=10000.0,
                    step=1.0,
                    advanced=True,
                ),
                setting(
                    CheckpointConfig,
                    "epoch_ratio",
                    "At least so many checkpoints over the whole run, at ends of epochs, in place of "
                    "every_epochs (kohya: save_n_epoch_ratio); 0: every_epochs counts.",
                    min=0,
                    max=1000000,
                    advanced=True,
                ),
                setting(
                    CheckpointConfig,
                    "precision",
                    "Number format of the files (kohya: save_precision).",
                    advanced=True,
                ),
            ],
            outputs=[output(CheckpointSettingsSocket, "checkpoint settings", "For Train.")],
        )

    @classmethod
    def execute(cls, **values: Any) -> io.NodeOutput:
        return io.NodeOutput(CheckpointConfig(**values))
