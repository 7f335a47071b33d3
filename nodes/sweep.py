"""Sweep: several learning rates, ranks and seeds, for Train to go through."""

from __future__ import annotations

from comfy_api.latest import io

from ..trainer.config.lora import LoraConfig
from ..trainer.config.optimiser import OptimiserConfig
from ..trainer.config.train import TrainConfig
from .host.comparing.sweep import Numbers, sweep
from .schema import Node, field, node, output, setting
from .sockets import LoraSettingsSocket, OptimiserSettingsSocket, RunSettingsSocket


class Sweep(Node):
    """One set of run settings for each combination of numbers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "Sweep",
            display_name="Sweep",
            description="Has Train make one run for each combination of learning rates, ranks and "
            "seeds, one after another, from the same cache. Connect it to run_settings of Train, "
            "and lora of Train to Sweep Report.",
            search_aliases=["grid search", "hyperparameters", "learning rates", "compare settings"],
            inputs=[
                field(
                    io.String,
                    "learning_rates",
                    "Numbers such as 1e-5, 3e-5, 1e-4; empty: that of the settings below.",
                    default="1e-5, 3e-5, 1e-4",
                ),
                field(
                    io.String,
                    "ranks",
                    "Whole numbers such as 8, 32; alpha goes with them. Empty: that of the settings below.",
                    default="",
                ),
                field(
                    io.String,
                    "seeds",
                    "Whole numbers: with two or more the report can say whether settings differ by "
                    "more than seeds do.",
                    default="0, 1",
                ),
                setting(
                    TrainConfig,
                    "steps",
                    "Optimiser steps of each run. Where run_settings is connected, its steps apply.",
                    min=1,
                    max=1000000,
                ),
                setting(
                    TrainConfig,
                    "batch_size",
                    "Images per batch. Where run_settings is connected, its batch size applies.",
                    min=1,
                    max=256,
                ),
                field(
                    LoraSettingsSocket,
                    "lora_settings",
                    "All else of the LoRA. Connect it here and not to Train.",
                    optional=True,
                ),
                field(
                    OptimiserSettingsSocket,
                    "optimiser_settings",
                    "All else of the optimiser. Connect it here and not to Train.",
                    optional=True,
                ),
                field(
                    RunSettingsSocket,
                    "run_settings",
                    "From Import kohya Config: what all runs have in common.",
                    optional=True,
                ),
            ],
            outputs=[
                output(
                    RunSettingsSocket,
                    "run_settings",
                    "One for each run, for Train: it trains once for each.",
                    is_output_list=True,
                ),
                output(
                    io.String, "labels", "What each run is called, in order.", is_output_list=True
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        learning_rates: str,
        ranks: str,
        seeds: str,
        steps: int,
        batch_size: int,
        lora_settings: LoraConfig | None = None,
        optimiser_settings: OptimiserConfig | None = None,
        run_settings: TrainConfig | None = None,
    ) -> io.NodeOutput:
        base = run_settings or TrainConfig(steps=steps, batch_size=batch_size)
        numbers = Numbers(learning_rates, ranks, seeds)
        found = sweep(numbers, base, lora_settings, optimiser_settings)
        return io.NodeOutput(found.configs, found.labels, ui={"text": [found.told]})
