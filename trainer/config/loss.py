"""What can be set about noise, loss and its weighting; the nodes read the defaults from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...base.config import Config, Problems
from ..sdxl.constants import TIMESTEPS

LossType = Literal["l2", "l1", "huber", "smooth_l1"]
HuberSchedule = Literal["snr", "exponential", "constant"]
ZeroTerminalSnr = Literal["model", "on"]
TimestepSampling = Literal["uniform", "sigmoid", "beta", "laplace"]
YOUNGER = (
    "timestep_sampling", "timestep_location", "timestep_scale", "immiscible", "discrete_flow_shift",
)  # fmt: skip
"""Fields that runs on disk may be older than."""
NAMES = {"epsilon": "noise"}
"""What a model predicts, where its word is another."""
MOST_NOISES = 64
"""So many noises are drawn for one image at most."""


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
    timestep_sampling: TimestepSampling = "uniform"
    """Timesteps are drawn from this distribution over their range (kohya's name; see
    trainer/training/timesteps.py)."""
    timestep_location: float = 0.0
    """The distribution lies around this logit, -10 to 10: 0 is the middle of the range, above it are the
    noisier half."""
    timestep_scale: float = 1.0
    """The distribution is this wide, 0.1 to 10 (kohya: sigmoid_scale)."""
    immiscible: int = 0
    """The nearest of so many noises, 2 to 64, becomes that of an image (Li et al. 2024, by nearest
    neighbours); 0 draws one."""
    discrete_flow_shift: float = 0.0
    """The timesteps of a MODEL with flow sampling are shifted by this factor, up to 100; 0 takes the
    MODEL's own (kohya's name)."""

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
        self._check_timesteps(problems)

    def _check_timesteps(self, problems: Problems) -> None:
        """What is wrong with which timesteps and noises are drawn."""
        problems.need(
            0 <= self.min_timestep < self.max_timestep <= TIMESTEPS,
            f"timesteps are {self.min_timestep} to {self.max_timestep}; they must lie in 0..{TIMESTEPS}, "
            "the lower one first",
        )
        problems.one_of("timestep_sampling", self.timestep_sampling, TimestepSampling)
        problems.need(
            -10 <= self.timestep_location <= 10,
            f"timestep_location is {self.timestep_location}; it must lie in -10..10",
        )
        problems.need(
            0.1 <= self.timestep_scale <= 10,
            f"timestep_scale is {self.timestep_scale}; it must lie in 0.1..10",
        )
        problems.need(
            self.immiscible == 0 or 2 <= self.immiscible <= MOST_NOISES,
            f"immiscible is {self.immiscible}; it must be 0 or lie in 2..{MOST_NOISES}",
        )
        problems.need(
            0 <= self.discrete_flow_shift <= 100,
            f"discrete_flow_shift is {self.discrete_flow_shift}; it must lie in 0..100",
        )

    @property
    def draws_evenly(self) -> bool:
        """Whether all timesteps are drawn, and all alike."""
        return self.timestep_sampling == "uniform" and (
            (self.min_timestep, self.max_timestep) == (0, TIMESTEPS)
        )

    def identity(self) -> dict[str, object]:
        """What of it counts in the name of a run: fields that are younger than runs on disk only when used."""
        found = self.to_dict()
        for name in YOUNGER:
            if found[name] == getattr(LossConfig, name):
                del found[name]
        return found

    def check_prediction(self, prediction: str) -> None:
        """Refuse what does not suit what the model predicts: by kohya's rules, and what flow has not."""
        problems = Problems()
        problems.need(
            not self.scale_v_pred or prediction == "v",
            "scale_v_pred is meant for v-prediction models and this one predicts "
            f"{NAMES.get(prediction, prediction)}: turn it off",
        )
        problems.need(
            not self.v_pred_like or prediction == "epsilon",
            "v_pred_like is meant for noise-predicting models and this one predicts "
            f"{NAMES.get(prediction, prediction)}: set it to 0",
        )
        problems.need(
            prediction == "flow" or not self.discrete_flow_shift,
            "discrete_flow_shift is meant for models with flow sampling and this one predicts "
            f"{NAMES.get(prediction, prediction)}: set it to 0",
        )
        if prediction == "flow":
            self._check_flow(problems)
        problems.finish(self.title)

    def _check_flow(self, problems: Problems) -> None:
        """What weighs by a signal-to-noise ratio of diffusion, which flow has not (kohya's Huber too)."""
        problems.need(
            not (self.min_snr_gamma or self.debiased),
            "min_snr_gamma and debiased weigh diffusion's timesteps and this model has flow sampling: "
            "turn them off (timestep_sampling chooses among its timesteps)",
        )
        problems.need(
            self.loss_type in ("l1", "l2") or self.huber_schedule != "snr",
            "huber_schedule is snr, which a model with flow sampling does not have: take exponential or "
            "constant",
        )
        problems.need(
            self.zero_terminal_snr == "model",
            "zero_terminal_snr is on and this model has flow sampling, which ends in pure noise as it is: "
            "set it to model",
        )

    def notes(self, prediction: str) -> list[str]:
        """What is allowed but hardly meant for a model that predicts this, as sentences."""
        if self.zero_terminal_snr == "on" and prediction != "v":
            return [
                "zero_terminal_snr is on and this model predicts noise, of which the last timestep then "
                "teaches nothing: it is meant for v-prediction models."
            ]
        return []
