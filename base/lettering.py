"""Words on pictures, in the font that comes with Pillow."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_PAPER, _INK = (40, 42, 46), (214, 216, 220)
_MARGIN = 24
_MOST = 200  # letters of a line: more are never seen


def letters(size: int) -> Font:
    """The font, so many pixels high; older Pillows have it in one size only."""
    try:
        return ImageFont.load_default(size)
    except TypeError:
        return ImageFont.load_default()


def fitted(text: str, width: float, font: Font) -> str:
    """The text in letters that the font has, cut in the middle where it is wider than ``width`` pixels."""
    if len(text) > _MOST:
        text = text[: _MOST // 2] + text[-_MOST // 2 :]
    plain = text.encode("latin-1", "replace").decode("latin-1")
    kept = len(plain)
    shown = plain
    while kept > 2 and font.getlength(shown) > width:
        kept -= 1
        shown = f"{plain[: kept - kept // 2]}…{plain[len(plain) - kept // 2 :]}"
    return shown


def sentence(text: str, size: int = 28) -> np.ndarray:
    """A picture that says a sentence, a line for each of its lines: HWC uint8 RGB."""
    font = letters(size)
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    left, top, right, bottom = pen.multiline_textbbox((_MARGIN, _MARGIN), text, font=font)
    image = Image.new("RGB", (int(left + right), int(top + bottom)), _PAPER)
    ImageDraw.Draw(image).multiline_text((_MARGIN, _MARGIN), text, fill=_INK, font=font)
    return np.asarray(image)
