"""What Compare LoRAs is asked for: LoRAs at strengths, prompts with seeds, and what is measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from ....tagger import TagConfig, TaggerConfig
from ....trainer.cache.latents import CachedDataset
from ....trainer.config.loss import LossConfig
from ....trainer.config.measuring import MeasureConfig
from ....trainer.config.train import TrainConfig
from ....trainer.config.validation import ValidationConfig
from ....trainer.dataset.dataset import Dataset
from ....trainer.kohya.prompt_lines import MAX_SEED, without_seed
from ....trainer.runs.sweep import parse_numbers, parse_seeds
from ....trainer.validation.split import split
from ..previews.previewer import MAX_IMAGES, MAX_PIXELS, PreviewConfig
from .lora_list import Candidate
from .scores import Scoring

_NODE = "Compare LoRAs"
_TITLE_LETTERS = 120


@dataclass(frozen=True)
class Comparison:
    """What is compared, and how: every LoRA at every strength, for every prompt and seed."""

    loras: Sequence[Candidate]
    strengths: tuple[float, ...]
    settings: PreviewConfig
    """Size, steps and the like of the images, with their prompts."""
    seeds: tuple[int, ...] = ()
    """Each prompt is sampled with each of them; none: with its own, or else that of the settings."""
    cached: CachedDataset | None = None
    """The images to measure; None: none."""
    validation: ValidationConfig | None = None
    """Those of them that a training with these settings holds out; None: all."""
    loss: LossConfig = field(default_factory=LossConfig)
    """How the losses are made."""
    scoring: Scoring | None = None
    """What scores the images; None: nothing does."""

    def shots(self) -> PreviewConfig:
        """The settings with a line for each prompt and seed, the seeds of a prompt together."""
        lines = self.settings.prompts
        if self.seeds:
            plain = map(without_seed, lines)
            lines = tuple(f"{line} --d {seed}" for line in plain for seed in self.seeds)
        return replace(self.settings, prompts=lines, strengths=(1.0,))

    def titles(self) -> list[str]:
        """What stands above the sheet of each prompt: its line, and its seed where it has one only."""
        lines = [without_seed(line) for line in self.settings.prompts]
        if len(self.seeds) > 1:
            return [line[:_TITLE_LETTERS] for line in lines]
        pairs = zip(lines, self.shots().shots(), strict=True)
        return [f"{line[:_TITLE_LETTERS]}, seed {shot.seed}" for line, shot in pairs]

    def check(self) -> None:
        """Raise ValueError for nothing to sample, or more than fits into memory."""
        shots = self.shots().shots()
        if not shots:
            raise ValueError(
                "Compare LoRAs: there is no prompt. Type one a line into prompts, or connect Preview Settings."
            )
        if not all(-10 <= strength <= 10 for strength in self.strengths):
            raise ValueError("Compare LoRAs: strengths must lie between -10 and 10")
        count = len(self.loras) * len(self.strengths)
        pixels = count * sum(shot.width * shot.height for shot in shots)
        if count * len(shots) > MAX_IMAGES or pixels > MAX_PIXELS:
            raise ValueError(
                f"Compare LoRAs: {len(self.loras)} LoRAs x {len(self.strengths)} strengths x {len(shots)} prompts and "
                f"seeds are {count * len(shots)} images of {pixels >> 20} megapixels in all; allowed: {MAX_IMAGES} "
                f"images and {MAX_PIXELS >> 20} megapixels. Give fewer, or smaller images."
            )

    def noise(self) -> MeasureConfig:
        """What the images are measured with: what Train's validations have, where their settings are given."""
        if self.validation is None:
            return MeasureConfig(loss=self.loss)
        return MeasureConfig(
            self.validation.timesteps, seeds=1, seed=self.validation.seed, loss=self.loss
        )

    def measured(self) -> CachedDataset | None:
        """The images that are measured."""
        if self.cached is None or self.validation is None:
            return self.cached
        return split(self.cached, TrainConfig(validation=self.validation)).held_out


def comparison(
    loras: Sequence[Candidate],
    strengths: str,
    prompts: str,
    seeds: str,
    preview_settings: PreviewConfig | None = None,
    cache: CachedDataset | None = None,
    validation_settings: ValidationConfig | None = None,
    loss_settings: LossConfig | None = None,
    dataset: Dataset | None = None,
    threshold: float = TagConfig.general_threshold,
    model: str = TaggerConfig.model,
    model_path: str = "",
) -> Comparison:
    """What the inputs of the node ask for: prompts and seeds of the settings where the texts are empty.

    dataset: with it the images are scored by the tagger ``model``, or the one at ``model_path``.

    Raises ValueError for texts that hold something else than such numbers.
    """
    given = preview_settings or PreviewConfig()
    typed = _lines(prompts.splitlines()) or _lines(given.prompts)
    settings = replace(given, prompts=typed)
    return Comparison(
        loras,
        parse_numbers(strengths, "strengths", _NODE) or (1.0,),
        settings,
        parse_seeds(seeds, _NODE, MAX_SEED),
        cache,
        validation_settings,
        loss_settings or LossConfig(),
        None
        if dataset is None
        else Scoring(dataset, TaggerConfig(model=model, model_path=model_path), threshold),
    )


def _lines(texts: Iterable[str]) -> tuple[str, ...]:
    """Those that are prompts."""
    found = (text.strip() for text in texts)
    return tuple(line for line in found if line and not line.startswith("#"))
