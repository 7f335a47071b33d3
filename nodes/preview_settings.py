"""Preview Settings: what to sample while training."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .host.previews.previewer import PreviewConfig, parse_strengths
from .host.previews.sampling import samplers, schedulers
from .schema import Node, field, node, output, setting
from .sockets import PreviewSettingsSocket


class PreviewNode(Node):
    """What to sample while training."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "PreviewSettings",
            display_name="Preview Settings",
            description="Images sampled during training with the LoRA as it is then, by "
            "ComfyUI's own sampler. Changing them does not retrain.",
            search_aliases=["sample prompts", "training samples"],
            inputs=[
                field(
                    io.String,
                    "prompts",
                    "One prompt a line; one image each. kohya's options may follow: --w 832 --h 1216 "
                    "--d 42 (seed) --l 7 (CFG) --s 28 (steps) --ss euler_a --n blurry. # begins a comment.",
                    default="",
                    multiline=True,
                ),
                setting(
                    PreviewConfig,
                    "every",
                    "Steps between previews; 0 for none.",
                    min=0,
                    max=1000000,
                ),
                setting(
                    PreviewConfig,
                    "negative",
                    "Negative prompt of all previews.",
                    multiline=True,
                    advanced=True,
                ),
                setting(PreviewConfig, "width", "Pixels.", min=16, max=4096, step=8, advanced=True),
                setting(
                    PreviewConfig, "height", "Pixels.", min=16, max=4096, step=8, advanced=True
                ),
                setting(PreviewConfig, "steps", "Sampling steps.", min=1, max=200, advanced=True),
                setting(
                    PreviewConfig,
                    "cfg",
                    "Classifier-free guidance.",
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    advanced=True,
                ),
                field(
                    io.Combo,
                    "sampler",
                    "ComfyUI's samplers.",
                    options=samplers(),
                    default=PreviewConfig.sampler,
                    advanced=True,
                ),
                field(
                    io.Combo,
                    "scheduler",
                    "ComfyUI's schedulers.",
                    options=schedulers(),
                    default=PreviewConfig.scheduler,
                    advanced=True,
                ),
                setting(
                    PreviewConfig,
                    "seed",
                    "The same noise for every preview, so that they can be compared.",
                    min=0,
                    max=2**53 - 1,
                    control_after_generate=False,
                    advanced=True,
                ),
                setting(
                    PreviewConfig,
                    "at_start",
                    "Also before the first step, to see what the model makes of the prompts.",
                    advanced=True,
                ),
                setting(
                    PreviewConfig,
                    "every_epochs",
                    "Epochs between previews, instead of steps; 0: every counts.",
                    min=0,
                    max=1000000,
                    advanced=True,
                ),
                field(
                    io.String,
                    "strengths",
                    "Sample each prompt with the LoRA at each of these strengths, such as 0, 0.4, 0.6, "
                    "0.8, 1: a grid. Empty: at 1 only.",
                    default="",
                    advanced=True,
                ),
            ],
            outputs=[output(PreviewSettingsSocket, "preview settings", "For Train.")],
        )

    @classmethod
    def execute(cls, prompts: str, strengths: str = "", **values: Any) -> io.NodeOutput:
        lines = tuple(line.strip() for line in prompts.splitlines() if line.strip())
        settings = PreviewConfig(prompts=lines, strengths=parse_strengths(strengths), **values)
        return io.NodeOutput(settings)
