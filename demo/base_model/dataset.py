"""The demo's dataset: ten pictures of a robot that the base model has never seen."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from . import scenes

SCALE = 8
"""Pixels of a picture per pixel of art: one pixel of the latent."""


def write(folder: str | Path) -> Path:
    """Write pictures of 128x128 pixels with their captions into `folder` and return it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for number, scene in enumerate(scenes.robots(), 1):
        large = scene.picture.repeat(SCALE, 0).repeat(SCALE, 1)
        Image.fromarray(large).save(folder / f"robot_{number:02}.png")
        caption = ", ".join(scene.tags)
        (folder / f"robot_{number:02}.txt").write_text(caption, encoding="utf-8")
    return folder
