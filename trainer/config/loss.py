"""What can be set about noise, loss and its weighting; the nodes read the defaults from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..sdxl.constants import TIMESTEPS
from .problems import Problems, Settings

LossType = Literal["l2", "l1", "huber", "smooth_l1"]
HuberSchedule = Literal["snr", "exponential", "constant"]
ZeroTerminalSnr = Literal["model", "on"]


@dataclass(frozen=True)
class LossConfig(Settings):
    """Noise, loss function and weighting by timestep in kohya's words (docs/kohya.md, "Noise and loss")."""

    loss_type: LossType = "l2"
    huber_schedule: HuberSchedule = "snr"
    huber_c: float = 0.1
    huber_scale: float = 1.0
    min_snr_gamma: float = 0.0
    """0 turns min-SNR weighting off; 5 is the paper's value (Hang et al. 2023)."""
    debiased: bool = False
    scale_v_pred: bool = False
    v_pred_like: float = 0.0
    noise_offset: float = 0.0
    noise_offset_random_strength: bool = False
    adaptive_noise_scale: float = 0.0
    """Adds this share of each latent channel's mean to the noise offset; may be negative."""
    multires_iterations: int = 0
    multires_discount: float = 0.3
    ip_noise_gamma: float = 0.0
    """Strength of input perturbation noise (Ning et al. 2023)."""
    ip_noise_gamma_random_strength: bool = False
    min_timestep: int = 0
    max_timestep: int = TIMESTEPS
    """Timesteps are drawn from min_timestep up to, but without, max_timestep."""
    preservation: float = 0.0
    """Weight of a further term: under its caption without the trigger, a picture's noisy latents shall
    give what the model itself answers (see trainer/training/preservation.py). 0 turns it off."""
    preservation_class: str = ""
    """What stands for the trigger in that caption: the word for its class, such as "woman"."""
    masked: bool = False
    """Each part of a picture counts as much as its mask says (see trainer/cache/masks.py); without one all counts."""
    zero_terminal_snr: ZeroTerminalSnr = "model"
    """`model`: the MODEL's own schedule; `on`: rescaled so that the last timestep is pure noise."""

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = Problems()
        problems.one_of("loss_type", self.loss_type, LossType)
        problems.one_of("huber_schedule", self.huber_schedule, HuberSchedule)
        problems.one_of("zero_terminal_snr", self.zero_terminal_snr, ZeroTerminalSnr)
        problems.need(self.huber_c > 0, f"huber_c is {self.huber_c}; it must be above 0")
        problems.need(self.huber_scale > 0, f"huber_scale is {self.huber_scale}; above 0")
        problems.need(self.min_snr_gamma >= 0, f"min_snr_gamma is {self.min_snr_gamma}; 0 or more")
        problems.need(self.v_pred_like >= 0, f"v_pred_like is {self.v_pred_like}; 0 or more")
        problems.need(self.preservation >= 0, f"preservation is {self.preservation}; 0 or more")
        problems.need(self.noise_offset >= 0, f"noise_offset is {self.noise_offset}; 0 or more")
        problems.need(
            self.noise_offset > 0 or not self.adaptive_noise_scale,
            "adaptive_noise_scale is set but noise_offset is 0: give noise_offset a value too",
        )
        problems.need(
            self.multires_iterations >= 0,
            f"multires_iterations is {self.multires_iterations}; 0 or more",
        )
        problems.need(
            0 < self.multires_discount <= 1,
            f"multires_discount is {self.multires_discount}; above 0 and at most 1",
        )
        problems.need(
            self.ip_noise_gamma >= 0, f"ip_noise_gamma is {self.ip_noise_gamma}; 0 or more"
        )
        problems.need(
            0 <= self.min_timestep < self.max_timestep <= TIMESTEPS,
            f"timesteps are {self.min_timestep} to {self.max_timestep}; they must lie in 0..{TIMESTEPS}, "
            "the lower one first",
        )
        problems.finish("Noise and Loss settings")

    def check_prediction(self, prediction: str) -> None:
        """Refuse weightings that kohya ties to the other prediction type."""
        problems = Problems()
        problems.need(
            not self.scale_v_pred or prediction == "v",
            "scale_v_pred is meant for v-prediction models and this one predicts noise: turn it off",
        )
        problems.need(
            not self.v_pred_like or prediction == "epsilon",
            "v_pred_like is meant for noise-predicting models and this one predicts v: set it to 0",
        )
        problems.finish("Noise and Loss settings")

    def notes(self, prediction: str) -> list[str]:
        """What is allowed but hardly meant for a model that predicts this, as sentences."""
        if self.zero_terminal_snr == "on" and prediction != "v":
            return [
                "zero_terminal_snr is on and this model predicts noise, of which the last timestep then "
                "teaches nothing: it is meant for v-prediction models."
            ]
        return []
