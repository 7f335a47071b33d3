"""Compare LoRAs: the same prompts and seeds with each LoRA at each strength, on a MODEL that is loaded once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ....tagger import TagConfig, TaggerConfig
from ....trainer.cache.latents import CachedDataset
from ....trainer.config.loss import LossConfig
from ....trainer.config.measuring import MeasureConfig
from ....trainer.config.train import TrainConfig
from ....trainer.config.validation import ValidationConfig
from ....trainer.dataset.dataset import Dataset
from ....trainer.layers.attach import Attachment, weights_plan
from ....trainer.lora_files.names import FIRST_ENCODER, SECOND_ENCODER
from ....trainer.runs.sweep import parse_numbers
from ....trainer.validation.lora_table import Measured, table
from ....trainer.validation.split import split
from ..measuring.lora_weights import put_on
from ..measuring.measuring import Measuring
from ..model import unet
from ..model.clip import check_clip
from ..model.host_types import Clip, ModelPatcher, Vae
from ..model.pristine import take_patches_out
from ..model.vae import check_vae, to_image, to_pil
from ..previews.grid import grid, one_size
from ..previews.previewer import MAX_IMAGES, MAX_PIXELS, PreviewConfig, Previewer
from ..progress import NodeProgress, check_interrupt
from .lora_list import Candidate
from .scores import Place, Scoring, scored

_NODE = "Compare LoRAs"
_TITLE_LETTERS = 120


@dataclass(frozen=True)
class Comparison:
    """What is compared, and how: every LoRA at every strength, for every prompt and seed."""

    loras: Sequence[Candidate]
    strengths: tuple[float, ...]
    settings: PreviewConfig
    """Size, steps and the like of the images, with their prompts."""
    seeds: tuple[int, ...]
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
        lines = tuple(f"{line} --d {seed}" for line in self.settings.prompts for seed in self.seeds)
        return replace(self.settings, prompts=lines, strengths=(1.0,))

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
    **tagger: str,
) -> Comparison:
    """What the inputs of the node ask for: prompts and seeds of the settings where the texts are empty.

    dataset: with it the images are scored by the tagger, whose settings the further inputs are.

    Raises ValueError for texts that hold something else than such numbers.
    """
    given = preview_settings or PreviewConfig()
    typed = _lines(prompts.splitlines()) or _lines(given.prompts)
    numbers = parse_numbers(seeds, "seeds", _NODE) or (given.seed,)
    if any(seed < 0 or seed != int(seed) for seed in numbers):
        raise ValueError(f"{_NODE}: seeds is {seeds!r}; give whole numbers from 0 on")
    settings = replace(given, prompts=typed)
    return Comparison(
        loras,
        parse_numbers(strengths, "strengths", _NODE) or (1.0,),
        settings,
        tuple(map(int, numbers)),
        cache,
        validation_settings,
        loss_settings or LossConfig(),
        None if dataset is None else Scoring(dataset, TaggerConfig(**tagger), threshold),
    )


def _lines(texts: Iterable[str]) -> tuple[str, ...]:
    """Those that are prompts."""
    found = (text.strip() for text in texts)
    return tuple(line for line in found if line and not line.startswith("#"))


class Models(NamedTuple):
    """What samples."""

    model: ModelPatcher
    clip: Clip
    vae: Vae


class Compared(NamedTuple):
    """What the node gives. sheets: an IMAGE, a sheet for each prompt."""

    sheets: Tensor
    table: str


def compare_loras(models: Models, asked: Comparison, node_id: str | None) -> Compared:
    """Sample, and measure where there are images for it. Called in inference mode.

    The MODEL is loaded once and never written to: a LoRA's part of a weight is added where it is computed
    with. An interrupt is obeyed within a step, and nothing is left behind.

    Raises:
        ValueError: unusable input, before any sampling; or a LoRA that does not fit.
    """
    unet.check_trainable(models.model)
    check_clip(models.clip)
    check_vae(models.vae)
    asked.check()
    pictures = _Pictures(models, asked, node_id)
    pictures.sample()
    images = pictures.images()
    rows, base = _measure(models, asked, node_id)
    notes: list[str] = []
    if asked.scoring is not None:
        prompts = [shot.text for shot in asked.shots().shots()]
        scores, notes = scored(images, prompts, asked.scoring, node_id)
        rows = [
            row._replace(scores=scores.get(place, {}))
            for row, place in zip(rows, images, strict=True)
        ]
    return Compared(pictures.sheets(images), "\n".join([table(rows, base), *notes]))


class _Pictures:
    """The images by LoRA and strength: all texts encoded first, then all sampled, then all decoded.

    So each of the three models is loaded once, also where the device holds only one of them.
    """

    def __init__(self, models: Models, asked: Comparison, node_id: str | None) -> None:
        self._models, self._asked = models, asked
        self._plain = Previewer(*models, asked.shots())
        """For LoRAs that leave the text encoders alone."""
        self._own: dict[tuple[int, int], Previewer] = {}
        self._latents: dict[tuple[int, int], list[Tensor]] = {}
        self._total = len(asked.loras) * len(asked.strengths)
        self._progress = NodeProgress(self._total, node_id)

    def sample(self) -> None:
        """Everything, up to latents. An interrupt is raised within a step of the sampler."""
        for row, lora in self._each():
            if any(key.startswith((FIRST_ENCODER, SECOND_ENCODER)) for key in lora):
                for column, strength in enumerate(self._asked.strengths):
                    self._encode(row, column, lora, strength)
        without: list[Tensor] | None = None  # at strength 0 all LoRAs are the same
        for row, lora in self._each():
            for column, strength in enumerate(self._asked.strengths):
                check_interrupt()
                if strength or without is None:
                    found = self._sampled(row, column, lora, strength)
                    without = without if strength else found
                else:
                    found = without
                self._latents[row, column] = found
                done = len(self._latents)
                self._progress.update(done, f"sampled {done}/{self._total} LoRAs and strengths")

    def _each(self) -> Iterator[tuple[int, Mapping[str, Tensor]]]:
        """The LoRAs, one in memory at a time."""
        for row, candidate in enumerate(self._asked.loras):
            yield row, candidate.read()

    def _encode(self, row: int, column: int, lora: Mapping[str, Tensor], strength: float) -> None:
        model, clip, vae = self._models
        _, patched = put_on(model, clip, lora, strength)
        if patched is not clip:
            self._own[row, column] = Previewer(model, patched, vae, self._asked.shots())

    def _sampled(
        self, row: int, column: int, lora: Mapping[str, Tensor], strength: float
    ) -> list[Tensor]:
        previewer = self._own.get((row, column), self._plain)
        model = self._models.model
        weights, _ = put_on(model, None, lora, strength)
        take_patches_out(model)
        with ExitStack() as stack:
            if strength:
                stack.enter_context(Attachment(weights_plan(model.model.diffusion_model, weights)))
            return previewer.latents()

    def images(self) -> dict[Place, list[Image.Image]]:
        """By LoRA and strength those of all prompts and seeds."""
        strengths = self._asked.strengths
        return {
            (row, strengths[column]): self._decoded(found)
            for (row, column), found in self._latents.items()
        }

    def sheets(self, images: Mapping[Place, Sequence[Image.Image]]) -> Tensor:
        """A labelled sheet for each prompt: a row for each LoRA, a column for each strength and seed."""
        asked = self._asked
        names = [candidate.name for candidate in asked.loras]
        several = len(asked.seeds) > 1
        columns = [
            f"{strength:g}, seed {seed}" if several else f"strength {strength:g}"
            for strength in asked.strengths
            for seed in asked.seeds
        ]
        sheets = []
        for number, prompt in enumerate(asked.settings.prompts):
            cells = {
                (row, asked.strengths.index(strength) * len(asked.seeds) + place): found[
                    number * len(asked.seeds) + place
                ]
                for (row, strength), found in images.items()
                for place in range(len(asked.seeds))
            }
            sheets.append(grid(cells, names, columns, prompt[:_TITLE_LETTERS]))
        return torch.cat([to_image(np.asarray(sheet)) for sheet in one_size(sheets)])

    def _decoded(self, latents: Sequence[Tensor]) -> list[Image.Image]:
        return [to_pil(self._plain.decoded(one)[0]) for one in latents]


def _measure(
    models: Models, asked: Comparison, node_id: str | None
) -> tuple[list[Measured], Tensor | None]:
    """The losses of every LoRA at every strength, and of the model alone, where there are images for it."""
    cached, count = asked.measured(), len(asked.loras) * len(asked.strengths)
    if cached is None:
        return [Measured(c.name, s) for c in asked.loras for s in asked.strengths], None
    rows = []
    given = models.model, models.clip, cached, asked.noise()
    with Measuring(*given, node_id, count + 1) as measuring:
        base = measuring.losses()
        for candidate in asked.loras:
            lora = candidate.read()
            for strength in asked.strengths:
                losses = base if strength == 0 else measuring.losses(lora, strength)
                rows.append(Measured(candidate.name, strength, losses))
    return rows, base
