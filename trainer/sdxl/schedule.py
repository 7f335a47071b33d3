"""The way of SDXL from an image to noise: schedule, noisy latents, targets.

Diffusion in VP space: x_t = sqrt(ac_t) x_0 + sqrt(1 - ac_t) eps (Ho et al. 2020); v = sqrt(ac_t) eps - sqrt(1 - ac_t) x_0
(Salimans & Ho 2022). Rectified flow, for which some checkpoints were retrained (Liu et al. 2022):
x_t = (1 - sigma) x_0 + sigma eps and the target eps - x_0. Noise and timesteps are arguments, so everything here is a pure function.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .constants import TIMESTEPS

Prediction = Literal["epsilon", "v", "flow"]

ZERO_TERMINAL_SIGMA = 1000.0
"""A schedule whose last sigma lies above this was rescaled to zero terminal SNR (SDXL's is 14.6)."""


def sdxl_alphas_cumprod() -> Tensor:
    """SDXL's own schedule: `scaled_linear` betas from 0.00085 to 0.012. Returns [1000] float32."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, TIMESTEPS, dtype=torch.float32) ** 2
    return torch.cumprod(1.0 - betas, dim=0)


def zero_terminal(alphas_cumprod: Tensor) -> Tensor:
    """Rescale to zero terminal SNR: sqrt(ac) shifted so that its last is 0, first kept.

    Lin et al. 2023, in kohya's order of operations (through betas). [T] float32 -> [T] float32.
    """
    root = alphas_cumprod.sqrt()
    first, last = root[0].clone(), root[-1].clone()
    shifted = (root - last) * (first / (first - last))
    bar = shifted**2
    alphas = torch.cat([bar[0:1], bar[1:] / bar[:-1]])
    return torch.cumprod(1.0 - (1.0 - alphas), dim=0)


@dataclass(frozen=True)
class Schedule:
    """The noise schedule of a model and what the model predicts.

    alphas_cumprod: [T] float32, for noise and targets. snr: [T] float32, for loss weights; under
    zero terminal SNR it stays the one of the schedule before the rescaling, as in kohya.
    flow_sigmas: [T] float32, rising to 1, of rectified flow alone; multiplier: what times its sigma such
    a model is told as the timestep.
    """

    alphas_cumprod: Tensor
    snr: Tensor
    prediction: Prediction
    flow_sigmas: Tensor | None = None
    multiplier: float = float(TIMESTEPS)

    @classmethod
    def sdxl(
        cls, prediction: Prediction = "epsilon", *, zero_terminal_snr: bool = False
    ) -> Schedule:
        plain = sdxl_alphas_cumprod()
        noisy = zero_terminal(plain) if zero_terminal_snr else plain
        return cls(noisy, plain / (1 - plain), prediction)

    @classmethod
    def from_sigmas(cls, sigmas: Tensor, prediction: Prediction) -> Schedule:
        """From a k-diffusion style sigma table [T], as ComfyUI's model_sampling holds it."""
        alphas_cumprod = 1.0 / (1.0 + sigmas.detach().clone().float().cpu() ** 2)
        rescaled = bool(sigmas[-1] > ZERO_TERMINAL_SIGMA)
        plain = sdxl_alphas_cumprod() if rescaled else alphas_cumprod
        return cls(alphas_cumprod, plain / (1 - plain), prediction)

    @classmethod
    def flow(cls, sigmas: Tensor, multiplier: float, shift: float = 0.0) -> Schedule:
        """Rectified flow with the sigmas [T] of ComfyUI's ModelSamplingDiscreteFlow.

        shift: kohya's `--discrete_flow_shift`, s u / (1 + (s - 1) u) of even steps u, instead of theirs; 0
        keeps them.
        """
        own = sigmas.detach().clone().float().cpu()
        if shift:
            even = torch.arange(1, len(own) + 1, dtype=torch.float64) / len(own)
            own = (shift * even / (1 + (shift - 1) * even)).float()
        snr = ((1 - own) / own) ** 2
        return cls(snr / (1 + snr), snr, "flow", own, multiplier)

    def with_zero_terminal(self) -> Schedule:
        """Rescaled to zero terminal SNR, unless it is so already; the weights' SNR stays, as in kohya."""
        if self.zero_terminal_snr:
            return self
        return Schedule(zero_terminal(self.alphas_cumprod), self.snr, self.prediction)

    def to(self, device: torch.device) -> Schedule:
        sigmas = None if self.flow_sigmas is None else self.flow_sigmas.to(device)
        return Schedule(
            self.alphas_cumprod.to(device),
            self.snr.to(device),
            self.prediction,
            sigmas,
            self.multiplier,
        )

    @property
    def zero_terminal_snr(self) -> bool:
        """Whether diffusion was rescaled so that the last timestep is pure noise; that of flow is so anyway."""
        return self.flow_sigmas is None and bool(
            self.alphas_cumprod[-1] < 1.0 / ZERO_TERMINAL_SIGMA**2
        )

    def __len__(self) -> int:
        return len(self.alphas_cumprod)

    def told(self, timesteps: Tensor) -> Tensor:
        """What the model is given for timesteps [B] int64: float32 [B], themselves or what flow has there."""
        if self.flow_sigmas is None:
            return timesteps.float()
        return self.flow_sigmas[timesteps] * self.multiplier

    def noisy(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t. latents, noise [B, C, H, W] float32, timesteps [B] int64."""
        signal, sigma = self._scales(timesteps)
        return signal * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the model should predict for x_t, [B, C, H, W] float32."""
        if self.prediction == "epsilon":
            return noise
        if self.prediction == "flow":
            return noise - latents
        signal, sigma = self._scales(timesteps)
        return signal * noise - sigma * latents

    def apart(self, noisy: Tensor, prediction: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """The latents and the noise that x_t is made of if the prediction is right, each [B, C, H, W] float32.

        ``noisy`` and ``target`` backwards. Predicted noise says nothing of the latents where x_t is noise alone.
        """
        signal, sigma = self._scales(timesteps)
        if self.prediction == "epsilon":
            return (noisy - sigma * prediction) / signal, prediction
        if self.prediction == "flow":
            return noisy - sigma * prediction, noisy + signal * prediction
        return signal * noisy - sigma * prediction, sigma * noisy + signal * prediction

    def _scales(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        if self.flow_sigmas is not None:
            sigma = self.flow_sigmas[timesteps].view(-1, 1, 1, 1)
            return 1 - sigma, sigma
        ac = self.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        return ac.sqrt(), (1.0 - ac).sqrt()
