"""Previews with their scores beside each, a sheet for each prompt: a row for each step, a column for each strength."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ....base.lettering import fitted, letters
from ....tagger import Scores
from ..model.vae import to_image
from ..previews.grid import DARK, LIGHT, grid, one_size
from ..previews.preview_book import open_own
from .previews import Shown
from .words import prompt_title, short

_SIDE, _LEAST = 384, 120
"""Pixels of a preview's longer side on the sheet at most, and of the room beside it at least."""


def sheets(scores: Mapping[Shown, Scores]) -> Tensor:
    """IMAGE [prompts, H, W, 3]; what is missing or damaged stays grey."""
    steps = sorted({one.place.step for one in scores})
    strengths = sorted({one.place.strength for one in scores})
    rows, columns = [f"step {step}" for step in steps], [f"strength {s:g}" for s in strengths]
    found: dict[int, dict[tuple[int, int], Image.Image]] = {}
    for one, of in scores.items():
        picture = open_own(one.path) or Image.new("RGB", (_SIDE, _SIDE), DARK)
        cell = steps.index(one.place.step), strengths.index(one.place.strength)
        found.setdefault(one.place.prompt, {})[cell] = _beside(picture, list(_lines(one, of)))
    pages = one_size(
        [
            grid(cells, rows, columns, prompt_title([*scores], number))
            for number, cells in sorted(found.items())
        ]
    )
    return torch.cat([to_image(np.asarray(page)) for page in pages])


def _lines(one: Shown, scores: Scores) -> list[str]:
    head = ["without the LoRA"] if one.is_base else []
    leaked = [f"leaks {tag}" for tag in scores.leaked[:3]]
    return [*head, *(list(short(scores)) or ["no scores"]), *leaked]


def _beside(picture: Image.Image, lines: list[str]) -> Image.Image:
    """The preview, made small, and the lines on its right."""
    picture.thumbnail((_SIDE, _SIDE))
    size = max(10, picture.height // 14)
    room, font = max(_LEAST, picture.width // 2), letters(size)
    cell = Image.new("RGB", (picture.width + room, picture.height), DARK)
    cell.paste(picture, (0, 0))
    pen = ImageDraw.Draw(cell)
    for number, line in enumerate(lines):
        at = picture.width + size // 2, size // 2 + number * (size + size // 3)
        pen.text(at, fitted(line, room - size, font), fill=LIGHT, font=font)
    return cell
