"""The level or colour that a PNG calls transparent, as its pixels will have it."""

from __future__ import annotations

from PIL import Image

_STEPS = {"1": 255, "L;2": 85, "L;4": 17}
"""What a level of Pillow's raw modes of fewer than 8 bits becomes when it is decoded."""


def match_transparency(image: Image.Image) -> None:
    """Bring a PNG's transparent level, which Pillow gives as it is in the file, to those of the pixels.

    ``image`` is not decoded yet. Of an RGB colour of 16 bits the high bytes count, as of the pixels.
    """
    level, tiles = image.info.get("transparency"), getattr(image, "tile", None)
    raw = tiles[0].args if tiles else None
    if isinstance(level, int) and raw in _STEPS:
        image.info["transparency"] = min(255, level * _STEPS[raw])
    elif isinstance(level, tuple) and raw == "RGB;16B":
        image.info["transparency"] = tuple(part >> 8 for part in level)
