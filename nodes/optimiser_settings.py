"""Optimiser Settings: the optimiser, its learning rate, schedule and warm-up."""

from __future__ import annotations

from typing import Any, get_args

from comfy_api.latest import io

from ..trainer.config.optimiser import OptimiserConfig
from ..trainer.config.optimisers import OptimiserType
from .schema import Node, field, node, output, setting
from .sockets import OptimiserSettingsSocket


class OptimiserSettings(Node):
    """The optimiser and its learning rate over the steps."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "OptimiserSettings",
            display_name="Optimiser Settings",
            description="The optimiser, the learning rate, its schedule and warm-up.",
            search_aliases=["optimizer", "learning rate", "scheduler", "adamw", "prodigy", "lion"],
            inputs=[
                setting(
                    OptimiserConfig,
                    "learning_rate",
                    "How far each step goes. 3e-5 is safe over thousands of steps, 1e-4 is quick.",
                    min=1e-8,
                    max=1.0,
                    step=1e-6,
                    round=False,
                ),
                setting(
                    OptimiserConfig,
                    "schedule",
                    "How the learning rate changes over the steps.",
                ),
                setting(
                    OptimiserConfig,
                    "warmup",
                    "Steps over which the learning rate rises from 0; below 1 a fraction of all.",
                    min=0.0,
                    max=100000.0,
                    step=0.01,
                    round=False,
                ),
                setting(
                    OptimiserConfig,
                    "weight_decay",
                    "AdamW's pull of the LoRA's factors towards 0; other optimisers take it as argument.",
                    min=0.0,
                    max=10.0,
                    step=0.001,
                    round=False,
                    advanced=True,
                ),
                setting(
                    OptimiserConfig,
                    "max_grad_norm",
                    "Longer gradients are cut to this length; 0 turns it off.",
                    min=0.0,
                    max=1000.0,
                    step=0.01,
                    round=False,
                    advanced=True,
                ),
                setting(
                    OptimiserConfig,
                    "beta1",
                    "Decay of AdamW's mean of gradients.",
                    min=0.0,
                    max=0.9999,
                    step=0.001,
                    round=False,
                    advanced=True,
                ),
                setting(
                    OptimiserConfig,
                    "beta2",
                    "Decay of AdamW's mean of squared gradients.",
                    min=0.0,
                    max=0.99999,
                    step=0.001,
                    round=False,
                    advanced=True,
                ),
                setting(
                    OptimiserConfig,
                    "epsilon",
                    "AdamW's guard against division by 0.",
                    min=1e-12,
                    max=1e-2,
                    step=1e-9,
                    round=False,
                    advanced=True,
                ),
                setting(
                    OptimiserConfig,
                    "cycles",
                    "Waves of cosine_with_restarts; half-waves of cosine_with_min_lr and of the decay "
                    "of warmup_stable_decay.",
                    min=1,
                    max=100,
                    advanced=True,
                ),
                setting(
                    OptimiserConfig,
                    "power",
                    "Exponent of polynomial.",
                    min=0.1,
                    max=10.0,
                    step=0.1,
                    advanced=True,
                ),
                setting(
                    OptimiserConfig,
                    "min_lr_ratio",
                    "Where cosine_with_min_lr and warmup_stable_decay end, of the learning rate.",
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                ),
                setting(
                    OptimiserConfig,
                    "decay_steps",
                    "Last steps of warmup_stable_decay; below 1 a fraction of all.",
                    min=0.0,
                    max=100000.0,
                    step=0.01,
                    round=False,
                    advanced=True,
                ),
                field(
                    io.Combo,
                    "optimiser",
                    "kohya's optimizer_type. Prodigy and the DAdapt kinds find the learning rate "
                    "themselves: set it to 1. Those that are not torch's own need a package. bitsandbytes' "
                    "SGDNesterov8bit is plain momentum, and its Lion8bit on a CPU moves factors "
                    "without a gradient, too.",
                    options=list(get_args(OptimiserType)),
                    default=OptimiserConfig().type,
                ),
                field(
                    io.String,
                    "optimiser_arguments",
                    "kohya's optimizer_args, one key=value a line, such as d_coef=2.",
                    default="",
                    multiline=True,
                    advanced=True,
                ),
                setting(
                    OptimiserConfig,
                    "ema_decay",
                    "Previews and the result show a moving average of the LoRA over the steps; 0.98 spans "
                    "about 50 steps and suits a short run, 0.999 about 1000, 0 turns it off.",
                    min=0.0,
                    max=0.9999,
                    step=0.001,
                    round=False,
                    advanced=True,
                ),
                setting(
                    OptimiserConfig,
                    "timescale",
                    "Of inverse_sqrt, in steps; 0: the warm-up, or 10000 without one.",
                    min=0,
                    max=1000000,
                    advanced=True,
                ),
                setting(
                    OptimiserConfig,
                    "step_rules",
                    "Of piecewise_constant: 1:1000,0.1:2000,0.01 is the whole learning rate up to step "
                    "1000, a tenth of it up to 2000, then a hundredth.",
                    advanced=True,
                ),
                setting(
                    OptimiserConfig,
                    "end_rate",
                    "The learning rate at which polynomial ends.",
                    min=0.0,
                    max=1.0,
                    step=1e-8,
                    round=False,
                    advanced=True,
                ),
                setting(
                    OptimiserConfig,
                    "warmup_shape",
                    "How warmup_stable_decay climbs.",
                    advanced=True,
                ),
                setting(
                    OptimiserConfig,
                    "decay_shape",
                    "How warmup_stable_decay falls.",
                    advanced=True,
                ),
                setting(
                    OptimiserConfig,
                    "text_encoder_1_rate",
                    "Learning rate of the first text encoder, CLIP-L; 0: it is not trained. Needs CLIP "
                    "on Train.",
                    min=0.0,
                    max=1.0,
                    step=1e-6,
                    round=False,
                    advanced=True,
                ),
                setting(
                    OptimiserConfig,
                    "text_encoder_2_rate",
                    "Learning rate of the second text encoder, CLIP-G; 0: it is not trained. Needs CLIP "
                    "on Train.",
                    min=0.0,
                    max=1.0,
                    step=1e-6,
                    round=False,
                    advanced=True,
                ),
                setting(
                    OptimiserConfig,
                    "train_unet",
                    "Off trains the text encoders alone.",
                    advanced=True,
                ),
                field(
                    io.Boolean,
                    "unusual_rate",
                    "On: a learning rate far outside of what the optimiser usually takes is meant.",
                    default=False,
                    advanced=True,
                ),
            ],
            outputs=[output(OptimiserSettingsSocket, "optimiser settings", "For Train.")],
        )

    @classmethod
    def execute(
        cls, optimiser: OptimiserType, optimiser_arguments: str, unusual_rate: bool, **values: Any
    ) -> io.NodeOutput:
        lines = (line.strip() for line in optimiser_arguments.splitlines())
        arguments = tuple(line for line in lines if line)
        config = OptimiserConfig(type=optimiser, arguments=arguments, **values)
        if not unusual_rate:
            config.check_rates()
        return io.NodeOutput(config)
