"""Noise and Loss Settings: the noise that is added to the latents and how the prediction is judged."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..trainer.config.loss import MOST_NOISES, LossConfig
from ..trainer.sdxl.constants import TIMESTEPS
from .schema import Node, node, output, setting
from .sockets import LossSettingsSocket


class LossSettings(Node):
    """Noise, loss and its weighting."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "LossSettings",
            display_name="Noise and Loss Settings",
            description="kohya's loss functions and weightings. Whether the model predicts noise "
            "or v is read from the MODEL, and so is zero terminal SNR unless it is set here.",
            search_aliases=["min snr", "noise offset", "huber"],
            inputs=[
                setting(
                    LossConfig,
                    "min_snr_gamma",
                    "Evens out the weight of easy and hard timesteps; 5 is usual, 0 turns it off.",
                    min=0.0,
                    max=100.0,
                    step=0.1,
                ),
                setting(
                    LossConfig,
                    "noise_offset",
                    "Lets the LoRA learn very dark and very bright images; 0.05 is usual.",
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    round=False,
                ),
                setting(
                    LossConfig,
                    "loss_type",
                    "l2 is the usual one; huber and smooth_l1 care less about outliers.",
                ),
                setting(
                    LossConfig,
                    "huber_schedule",
                    "How the Huber constant depends on the timestep.",
                    advanced=True,
                ),
                setting(
                    LossConfig,
                    "huber_c",
                    "The Huber constant.",
                    min=0.0001,
                    max=10.0,
                    step=0.01,
                    round=False,
                    advanced=True,
                ),
                setting(
                    LossConfig,
                    "huber_scale",
                    "Multiplier for the Huber constant (not under the snr schedule, as in kohya).",
                    min=0.01,
                    max=100.0,
                    step=0.01,
                    advanced=True,
                ),
                setting(
                    LossConfig,
                    "debiased",
                    "Debiased estimation: weight 1 / sqrt(SNR); for v-prediction 1 / (SNR + 1).",
                    advanced=True,
                ),
                setting(
                    LossConfig,
                    "scale_v_pred",
                    "v-prediction only: scale the loss like one of noise prediction.",
                    advanced=True,
                ),
                setting(
                    LossConfig,
                    "v_pred_like",
                    "Noise prediction only: add this share of a loss like v-prediction's.",
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    advanced=True,
                ),
                setting(
                    LossConfig,
                    "noise_offset_random_strength",
                    "Draw the noise offset between 0 and its value for every image.",
                    advanced=True,
                ),
                setting(
                    LossConfig,
                    "adaptive_noise_scale",
                    "Adds this share of each latent channel's mean to the noise offset.",
                    min=-10.0,
                    max=10.0,
                    step=0.001,
                    round=False,
                    advanced=True,
                ),
                setting(
                    LossConfig,
                    "multires_iterations",
                    "Adds this many coarser noises (kohya: multires_noise_iterations); 6 to 10 are "
                    "usual, 0 turns it off.",
                    min=0,
                    max=32,
                    advanced=True,
                ),
                setting(
                    LossConfig,
                    "multires_discount",
                    "The strength of each coarser noise relative to the one before.",
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                ),
                setting(
                    LossConfig,
                    "ip_noise_gamma",
                    "Input perturbation: more noise on the image than the target knows of; 0.1 is "
                    "usual, 0 turns it off.",
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    advanced=True,
                ),
                setting(
                    LossConfig,
                    "ip_noise_gamma_random_strength",
                    "Draw the input perturbation between 0 and its value for every image.",
                    advanced=True,
                ),
                setting(
                    LossConfig,
                    "min_timestep",
                    "Train from this timestep on: higher ones are noisier and shape the composition.",
                    min=0,
                    max=TIMESTEPS - 1,
                    advanced=True,
                ),
                setting(
                    LossConfig,
                    "max_timestep",
                    "Train below this timestep: lower ones shape the details.",
                    min=1,
                    max=TIMESTEPS,
                    advanced=True,
                ),
                setting(
                    LossConfig,
                    "masked",
                    "Learn only what the masks show: files in a folder named masks beside the images (white is "
                    "learnt), else the images' own transparency (kohya: masked_loss, alpha_mask).",
                    advanced=True,
                ),
                setting(
                    LossConfig,
                    "preservation",
                    "Keep what the model knows, without further images: for every image the caption "
                    "without the trigger should still give the model's own prediction. 1 is usual, 0 turns it "
                    "off. Steps take about twice as long.",
                    min=0.0,
                    max=100.0,
                    step=0.05,
                    advanced=True,
                ),
                setting(
                    LossConfig,
                    "preservation_class",
                    "preservation: what stands for the trigger in that caption, such as woman; empty "
                    "leaves it out.",
                    advanced=True,
                ),
                setting(
                    LossConfig,
                    "zero_terminal_snr",
                    "model: as the MODEL has it. on: rescale the noise schedule so that the last timestep "
                    "is pure noise (kohya: zero_terminal_snr), for v-prediction.",
                    advanced=True,
                ),
                setting(
                    LossConfig,
                    "timestep_sampling",
                    "Which timesteps are drawn: all alike, or more of some (kohya: timestep_sampling). sigmoid "
                    "(logit-normal) and laplace have a hill, beta a hill or both ends.",
                    advanced=True,
                ),
                setting(
                    LossConfig,
                    "timestep_location",
                    "Where the distribution lies: 0 is the middle of the range, 1 noisier, -1 less noisy.",
                    min=-10.0,
                    max=10.0,
                    step=0.1,
                    round=False,
                    advanced=True,
                ),
                setting(
                    LossConfig,
                    "timestep_scale",
                    "How wide the distribution is (kohya: sigmoid_scale).",
                    min=0.1,
                    max=10.0,
                    step=0.1,
                    round=False,
                    advanced=True,
                ),
                setting(
                    LossConfig,
                    "immiscible",
                    "Every image takes the nearest of so many noises, from 2 on (immiscible diffusion); 0 "
                    "draws one.",
                    min=0,
                    max=MOST_NOISES,
                    advanced=True,
                ),
                setting(
                    LossConfig,
                    "discrete_flow_shift",
                    "For a MODEL with flow sampling: timesteps are shifted by this (kohya's name), above 1 to "
                    "the noisier ones. 0: as the MODEL has it.",
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=False,
                    advanced=True,
                ),
            ],
            outputs=[output(LossSettingsSocket, "loss settings", "For Train.")],
        )

    @classmethod
    def execute(cls, **values: Any) -> io.NodeOutput:
        return io.NodeOutput(LossConfig(**values))
