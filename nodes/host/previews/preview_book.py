"""The preview images of a run, kept in its folder."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import folder_paths
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ....base.image_file import DECODE_ERRORS, open_image, opened
from ....base.small_file import parse_json
from ....trainer.files.atomic import write_atomically
from ....trainer.files.record import Part
from ..model.vae import to_image, to_pil, to_png, told_image
from .grid import grid, one_size

log = logging.getLogger(__name__)

MadeBy = dict[str, Any]
"""What an image is sampled from beside MODEL and LoRA: its prompt (``text``), negative prompt, seed, sampler …"""
MADE_BY = "lora_loop_preview"
"""Under this name it stands in the PNG file, as JSON."""

NO_PREVIEWS = "No previews were made:\nconnect Preview Settings to Train."

_NAME = re.compile(r"step(\d+)_(\d+)(?:_strength(-?\d+(?:\.\d+)?(?:e-\d+)?))?\.png")


class Place(NamedTuple):
    """Which preview an image is, in the order of the files. prompt: its number, from 0."""

    step: int
    prompt: int
    strength: float = 1.0

    @property
    def name(self) -> str:
        """Of the file; the full strength goes without saying."""
        strength = "" if self.strength == 1 else f"_strength{self.strength:g}"
        return f"step{self.step:08}_{self.prompt}{strength}.png"


class PreviewBook:
    """PNG files `step00000250_0.png` (`step00000250_0_strength0.4.png`), up to step ``steps`` if that is given."""

    def __init__(self, folder: Path, steps: int | None = None) -> None:
        self.folder, self._steps = folder, steps

    def add(
        self,
        step: int,
        pictures: Sequence[Tensor],
        strengths: Sequence[float] = (1.0,),
        made_by: Sequence[MadeBy] = (),
    ) -> None:
        """Save the images of a step, [1, H, W, 3] each, for every prompt one per strength.

        ``made_by``: of each prompt what its images are sampled from, which is written into them.
        """
        for index, picture in enumerate(pictures):
            prompt, column = divmod(index, len(strengths))
            place = Place(step, prompt, strengths[column])
            texts = {MADE_BY: json.dumps(made_by[prompt])} if made_by else {}
            image = to_png(to_pil(picture[0]), texts)
            write_atomically(self.folder / place.name, image, root=self.folder.parent)

    def has(self, step: int) -> bool:
        """Whether there are images of that step."""
        return any(place.step == step for place in self.places())

    def clear(self, after: int) -> None:
        """Remove the images of later steps, which an earlier attempt made and which come again."""
        for place, path in self.places().items():
            if place.step > after:
                with suppress(OSError):  # it is in use; the new one takes its place
                    path.unlink()

    def paths(self) -> list[Path]:
        """In order of steps, then prompts, then strengths."""
        return list(self.places().values())

    def shown(self) -> Tensor:
        """All images, or a picture that says why there are none."""
        images = self.images()
        return told_image(NO_PREVIEWS) if images is None else images

    def images(self) -> Tensor | None:
        """All images as one IMAGE batch [N, H, W, 3], None when there are none.

        Where there are several strengths, one labelled sheet per prompt: a row per step, a column
        per strength. A batch has one size: the others are fitted into the largest, on grey.
        """
        images = {place: open_own(path) for place, path in self.places().items()}
        found = {place: image for place, image in images.items() if image is not None}
        if not found:
            return None
        several = len({place.strength for place in found}) > 1
        pictures = _sheets(found) if several else list(found.values())
        return torch.cat([to_image(np.asarray(image)) for image in one_size(pictures)])

    def results(self) -> list[dict[str, str]]:
        """The images as ComfyUI's `ui` wants them: below the output directory."""
        root = Path(folder_paths.get_output_directory())
        return [
            {
                "filename": path.name,
                "subfolder": path.parent.relative_to(root).as_posix(),
                "type": "output",
            }
            for path in self.paths()
        ]

    def places(self) -> dict[Place, Path]:
        """The images, in order of steps, then prompts, then strengths; files of other names are not ours."""
        found = {}
        for path in self.folder.glob("step*_*.png"):
            match = _NAME.fullmatch(path.name)
            place = Place(int(match[1]), int(match[2]), float(match[3] or 1)) if match else None
            if place is not None and (self._steps is None or place.step <= self._steps):
                found[place] = path
        return dict(sorted(found.items()))


def read_made_by(path: Path) -> MadeBy | None:
    """What the image at ``path`` was sampled from; None where it does not say so, with a warning if damaged."""
    try:
        with open_image(path) as image:
            said = image.info.get(MADE_BY)
        if not isinstance(said, str):
            return None
        fields = Part(parse_json(said)).fields()
        fields["text"].text()
        return {name: part.plain() for name, part in fields.items()}
    except (*DECODE_ERRORS, KeyError) as error:
        log.warning("LoRA Loop: %s does not say what it was made by: %s", path, error)
        return None


def _sheets(pictures: dict[Place, Image.Image]) -> list[Image.Image]:
    """A sheet for each prompt; what is missing for a step or strength stays grey."""
    steps = sorted({place.step for place in pictures})
    strengths = sorted({place.strength for place in pictures})
    rows, columns = [f"step {step}" for step in steps], [f"strength {s:g}" for s in strengths]
    found: dict[int, dict[tuple[int, int], Image.Image]] = {}
    for place, image in pictures.items():
        cell = steps.index(place.step), strengths.index(place.strength)
        found.setdefault(place.prompt, {})[cell] = image
    return [grid(cells, rows, columns) for _, cells in sorted(found.items())]


def open_own(path: Path) -> Image.Image | None:
    """An image of a run's folder; None, with a warning, where it is damaged."""
    try:
        with opened(path) as image:
            return image.convert("RGB")
    except ValueError as problem:
        log.warning("LoRA Loop: an image of a run is left out: %s", problem)
        return None
