"""Compare LoRAs: the same prompts and seeds with each LoRA at each strength, on a MODEL that is loaded once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ....trainer.layers.attach import Attachment, weights_plan
from ....trainer.lora_files.names import FIRST_ENCODER, SECOND_ENCODER
from ....trainer.validation.lora_table import Measured, table
from ..measuring.lora_weights import check_usable, put_on
from ..measuring.measuring import Measuring
from ..model import unet
from ..model.clip import check_clip
from ..model.pristine import take_patches_out
from ..model.vae import check_vae, to_image, to_pil
from ..previews.grid import grid, one_size
from ..previews.previewer import Previewer
from ..previews.sampling import Models
from ..progress import NodeProgress, check_interrupt
from .comparison import Comparison
from .lora_list import Candidate
from .scores import Place, scored


class Compared(NamedTuple):
    """What the node gives. sheets: an IMAGE, a sheet for each prompt."""

    sheets: Tensor
    table: str


def compare_loras(models: Models, asked: Comparison, node_id: str | None) -> Compared:
    """Sample, and measure where there are images for it. Called in inference mode.

    The MODEL is loaded once and never written to: a LoRA's part of a weight is added where it is computed
    with. An interrupt is obeyed within a step, and nothing is left behind.

    Raises:
        ValueError: unusable input or a LoRA that does not fit, before any sampling.
    """
    unet.check_trainable(models.model)
    check_clip(models.clip)
    check_vae(models.vae)
    asked.check()
    for candidate in asked.loras:
        check_interrupt()
        _check_lora(models, candidate)
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


def _check_lora(models: Models, candidate: Candidate) -> None:
    """Raise ValueError with the name of a LoRA that cannot be read, is damaged or does not fit."""
    try:
        check_usable(models.model, models.clip, candidate.read())
    except ValueError as error:
        raise ValueError(f"Compare LoRAs: {candidate.name}: {error}") from error


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
        seeds = max(1, len(asked.seeds))
        columns = [f"strength {strength:g}" for strength in asked.strengths]
        if seeds > 1:
            columns = [f"{s:g}, seed {seed}" for s in asked.strengths for seed in asked.seeds]
        sheets = []
        for number, title in enumerate(asked.titles()):
            cells = {
                (row, asked.strengths.index(strength) * seeds + place): found[
                    number * seeds + place
                ]
                for (row, strength), found in images.items()
                for place in range(seeds)
            }
            sheets.append(grid(cells, names, columns, title))
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
