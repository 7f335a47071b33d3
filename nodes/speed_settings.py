"""Speed Settings: faster and smaller ways to compute the same step."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..trainer.config.speed import SpeedConfig
from .schema import Node, node, output, setting
from .sockets import SpeedSettingsSocket


class SpeedSettings(Node):
    """How a step is computed; only frozen_weights changes results beyond rounding."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "SpeedSettings",
            display_name="Speed and Memory Settings",
            description="Ways to compute a step faster or in less memory. None of them has been measured "
            "on a card yet; all but auto_compact are experimental and off by default.",
            search_aliases=["low vram", "cuda graphs", "triton", "fp8", "int8", "block swap"],
            inputs=[
                setting(
                    SpeedConfig,
                    "cuda_graphs",
                    "Experimental: record the step once for each bucket and replay it, so that the GPU "
                    "never waits for Python. The result is the same.",
                ),
                setting(
                    SpeedConfig,
                    "triton_kernels",
                    "Experimental: fewer passes over memory between the matrix products, where Triton "
                    "is installed and compact of Train is on. The result is the same apart from rounding.",
                ),
                setting(
                    SpeedConfig,
                    "stream_weights",
                    "Experimental: the model's weights stay in RAM and come block by block, for cards "
                    "that cannot hold them. The result is the same.",
                ),
                setting(
                    SpeedConfig,
                    "frozen_weights",
                    "Experimental: store the model's linear layers in 8 bits while training, half the "
                    "memory. This changes the numbers a little.",
                ),
                setting(
                    SpeedConfig,
                    "auto_compact",
                    "With checkpointing of Train on auto: use compact layers where that saves splitting "
                    "the batch or recomputing. The result is the same apart from rounding. For plain LoRA without dropouts.",
                ),
            ],
            outputs=[output(SpeedSettingsSocket, "speed settings", "For Train.")],
        )

    @classmethod
    def execute(cls, **values: Any) -> io.NodeOutput:
        return io.NodeOutput(SpeedConfig(**values))
