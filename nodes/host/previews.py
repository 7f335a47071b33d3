"""The preview pictures of a run, kept in its folder."""

from __future__ import annotations

from pathlib import Path

import folder_paths
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from .images import to_image, to_pil

GREY = (128, 128, 128)


class PreviewBook:
    """PNG files `step00000250_0.png` in one folder, up to the last step of a run."""

    def __init__(self, folder: Path, steps: int) -> None:
        self.folder, self._steps = folder, steps

    def add(self, step: int, pictures: list[Tensor]) -> Image.Image:
        """Save the pictures, [1, H, W, 3] each, of a step; returns them side by side, for the node."""
        self.folder.mkdir(parents=True, exist_ok=True)
        images = [to_pil(picture[0]) for picture in pictures]
        for index, image in enumerate(images):
            target = self.folder / f"step{step:08}_{index}.png"
            partial = target.with_suffix(".tmp")
            image.save(partial, format="PNG")
            partial.replace(target)
        height = max(image.height for image in images)
        sheet = Image.new("RGB", (sum(i.width for i in images), height), GREY)
        for index, image in enumerate(images):
            sheet.paste(image, (index * image.width, 0))
        return sheet

    def has(self, step: int) -> bool:
        """Whether there are pictures of that step."""
        return any(_step(path) == step for path in self.paths())

    def clear(self, after: int) -> None:
        """Remove the pictures of later steps, which an earlier attempt made and which come again."""
        for path in self.paths():
            if _step(path) > after:
                path.unlink()

    def paths(self) -> list[Path]:
        """In order of steps, then prompts."""
        found = self.folder.glob("step*_*.png")
        return sorted((path for path in found if _step(path) <= self._steps), key=_place)

    def images(self) -> Tensor | None:
        """All pictures as one IMAGE batch [N, H, W, 3], None when there are none.

        A batch has one size: the others are fitted into the largest, on grey.
        """
        found = []
        for path in self.paths():
            with Image.open(path) as image:
                found.append(image.convert("RGB"))
        if not found:
            return None
        size = max(image.width for image in found), max(image.height for image in found)
        padded = (ImageOps.pad(i, size, color=GREY) if i.size != size else i for i in found)
        return torch.cat([to_image(np.asarray(image)) for image in padded])

    def results(self) -> list[dict[str, str]]:
        """The pictures as ComfyUI's `ui` wants them: below the output directory."""
        root = Path(folder_paths.get_output_directory())
        return [
            {
                "filename": path.name,
                "subfolder": path.parent.relative_to(root).as_posix(),
                "type": "output",
            }
            for path in self.paths()
        ]


def _place(path: Path) -> tuple[int, int]:
    """(step, prompt) of a picture."""
    step, prompt = path.stem.removeprefix("step").split("_")
    return int(step), int(prompt)


def _step(path: Path) -> int:
    return _place(path)[0]
