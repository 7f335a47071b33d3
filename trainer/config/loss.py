"""What can be set about noise, loss and its weighting; the nodes read the defaults from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...base.config import Config, Problems
from ..sdxl.constants import TIMESTEPS

LossType = Literal["l2", "l1", "huber", "smooth_l1"]
HuberSchedule = Literal["snr", "exponential", "constant"]
ZeroTerminalSnr = Literal["model", "on"]


@dataclass(frozen=True)
class LossConfig(Config):
    """Noise, loss function and weighting by timestep in kohya's words (docs/kohya.md, "Noise and loss")."""

    title = "Noise and Loss settings"

    loss_type: LossType = "l2"
    """The difference between prediction and target is judged by this function."""
    huber_schedule: HuberSchedule = "snr"
    """The Huber constant depends on the timestep in this way, for huber and smooth_l1 alone."""
    huber_c: float = 0.1
    """The Huber constant is this difference, above 0, from which on the loss grows linearly; the schedule
    makes it depend on the timestep."""
    huber_scale: float = 1.0
    """The Huber constant is multiplied by this number above 0, but not under the snr schedule, as in
    kohya."""
    min_snr_gamma: float = 0.0
    """Min-SNR weighting (Hang et al. 2023, who take 5) caps the signal-to-noise ratio at this; 0 turns it
    off."""
    debiased: bool = False
    """The loss is divided by the square root of the signal-to-noise ratio, or for v-prediction by the
    ratio plus 1 (kohya: debiased_estimation_loss)."""
    scale_v_pred: bool = False
    """The loss of a v-prediction model is scaled like one of noise prediction (kohya:
    scale_v_pred_loss_like_noise_pred)."""
    v_pred_like: float = 0.0
    """A noise-predicting model's loss gets this share, 0 or more, of a loss like v-prediction's added
    (kohya: v_pred_like_loss)."""
    noise_offset: float = 0.0
    """Each latent channel's noise is shifted by a normal number times this, 0 or more; 0 turns it off."""
    noise_offset_random_strength: bool = False
    """Each sample's noise offset is drawn between 0 and ``noise_offset``."""
    adaptive_noise_scale: float = 0.0
    """The noise offset of each latent channel gets this share of the channel's mean added; it may be
    negative."""
    multires_iterations: int = 0
    """So many coarser noises, 0 or more, are added to the noise (kohya: multires_noise_iterations)."""
    multires_discount: float = 0.3
    """Each coarser noise is this many times as strong as the one before, above 0 and at most 1."""
    ip_noise_gamma: float = 0.0
    """Input perturbation (Ning et al. 2023) adds noise of this strength, 0 or more, to the input alone;
    0 turns it off."""
    ip_noise_gamma_random_strength: bool = False
    """Each sample's input perturbation is drawn between 0 and ``ip_noise_gamma``."""
    min_timestep: int = 0
    """Timesteps are drawn from this one on, 0 to 999."""
    max_timestep: int = TIMESTEPS
    """Timesteps are drawn up to, but without, this one, which lies above ``min_timestep`` and is at most
    1000."""
    preservation: float = 0.0
    """The weight, 0 or more, of a further term: under its caption without the trigger, an image's noisy
    latents shall give the model's own prediction (see trainer/training/preservation.py); 0 turns it off."""
    preservation_class: str = ""
    """This word stands for the trigger in that caption, such as "woman"; empty leaves the trigger out."""
    masked: bool = False
    """Each part of an image counts as much as its mask says (see trainer/cache/masks.py); without a mask all counts."""
    zero_terminal_snr: ZeroTerminalSnr = "model"
    """The noise schedule is the MODEL's own (`model`), or rescaled so that the last timestep is pure noise
    (`on`)."""

    def check(self, problems: Problems) -> None:
        problems.one_of("loss_type", self.loss_type, LossType)
        problems.one_of("huber_schedule", self.huber_schedule, HuberSchedule)
        problems.one_of("zero_terminal_snr", self.zero_terminal_snr, ZeroTerminalSnr)
        problems.need(self.huber_c > 0, f"huber_c is {self.huber_c}; it must be above 0")
        problems.need(self.huber_scale > 0, f"huber_scale is {self.huber_scale}; above 0")
        problems.need(self.min_snr_gamma >= 0, f"min_snr_gamma is {self.min_snr_gamma}; 0 or more")
        problems.need(self.v_pred_like >= 0, f"v_pred_like is {self.v_pred_like}; 0 or more")
        problems.need(
            len(self.preservation_class) <= 200,
            f"preservation_class has {len(self.preservation_class)} characters, allowed: 200",
        )
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
        problems.finish(self.title)

    def notes(self, prediction: str) -> list[str]:
        """What is allowed but hardly meant for a model that predicts this, as sentences."""
        if self.zero_terminal_snr == "on" and prediction != "v":
            return [
                "zero_terminal_snr is on and this model predicts noise, of which the last timestep then "
                "teaches nothing: it is meant for v-prediction models."
            ]
        return []
