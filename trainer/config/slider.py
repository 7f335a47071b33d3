"""What can be set about a slider: a LoRA whose strength moves images between two prompts."""

from __future__ import annotations

from dataclasses import dataclass

from ...base.config import Config, Problems

MOST_SAMPLING_STEPS, LONGEST = 100, 2000
"""Steps of a sampling in each step of the training; characters of a prompt."""

NO_PROMPT = ""
"""The prompt of classifier-free guidance's other half."""


@dataclass(frozen=True)
class SliderConfig(Config):
    """A concept slider (Gandikota et al. 2023b, arXiv:2311.12092), trained on prompts alone.

    A side that is left empty is the empty prompt. So with ``target`` and ``negative`` the same and an empty
    ``positive`` a strength of 1 erases what they name, as in ESD (Gandikota et al. 2023a,
    arXiv:2303.07345), whose eta is ``guidance`` less 1.
    """

    title = "Slider"

    target: str = ""
    """The slider changes images of this prompt, up to 2000 characters; empty: all images."""
    positive: str = ""
    """A strength of 1 moves them towards this prompt, up to 2000 characters; without this one and
    ``negative`` no slider is trained."""
    negative: str = ""
    """A strength of -1 moves them towards this prompt, up to 2000 characters."""
    guidance: float = 4.0
    """A strength of 1 moves a prediction by so many times (eta) the difference between both, above 0 and
    at most 20."""
    sampling_steps: int = 10
    """The model comes from noise to the timestep that is trained in so many steps, 1 to 100."""

    def check(self, problems: Problems) -> None:
        for name in ("target", "positive", "negative"):
            letters = len(getattr(self, name))
            problems.need(
                letters <= LONGEST, f"{name} has {letters} characters, allowed: {LONGEST}"
            )
        problems.need(
            not self.is_on or self.positive != self.negative,
            f"positive and negative are the same, {self.positive[:60]!r}, so there is nothing between them: "
            "change one of them, or leave it empty",
        )
        problems.need(
            0 < self.guidance <= 20,
            f"guidance is {self.guidance}; it must be above 0 and at most 20",
        )
        problems.need(
            1 <= self.sampling_steps <= MOST_SAMPLING_STEPS,
            f"sampling_steps is {self.sampling_steps}; 1..{MOST_SAMPLING_STEPS}",
        )

    @property
    def is_on(self) -> bool:
        """Whether one is trained."""
        return bool(self.positive or self.negative)

    @property
    def others(self) -> tuple[str, ...]:
        """The prompts that a step needs beside the target: positive, negative, and none."""
        return (self.positive, self.negative, NO_PROMPT) if self.is_on else ()
