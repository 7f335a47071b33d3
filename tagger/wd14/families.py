"""The families of taggers that can be read: how each wants its images, and what it answers.

A tagger that is fed another range, order of colours or filling than it learned still gives numbers
between 0 and 1. So every family is described here once, and `family.py` refuses what is none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from .preprocess import WHITE, View

_Number = float | tuple[float, float, float]
"""For all channels, or for red, green and blue."""


class Levels(NamedTuple):
    """What a model makes of pixels of 0 to 255: divided by one number, then another taken off."""

    divisor: _Number = 1.0
    shift: _Number = 0.0


BYTES = Levels()
_PROBABILITIES = {"prediction": False, "output": False, "predictions_sigmoid": False}
_LOGITS = {"logits": True}


@dataclass(frozen=True)
class Family:
    """How the models of one family are read."""

    name: str
    view: View
    """How an image becomes a square; `side` stands for a model that leaves its own open."""
    planes: bool
    """Whether it reads (N, 3, side, side) instead of (N, side, side, 3)."""
    order: Literal["BGR", "RGB"]
    levels: Levels = BYTES
    logits: bool = False
    """Whether an output whose name says nothing holds logits instead of probabilities."""
    answers: Mapping[str, bool] = field(default_factory=lambda: _PROBABILITIES | _LOGITS)
    """Names of the output with the tags, best first, and whether it holds logits."""

    @property
    def shape(self) -> str:
        """The input as messages show it."""
        return "[batch, 3, side, side]" if self.planes else "[batch, side, side, 3]"

    def feed(self, pictures: list[np.ndarray]) -> np.ndarray:
        """Prepared (side, side, 3) uint8 BGR images -> what the model reads, float32."""
        if self.order == "RGB":
            pictures = [picture[:, :, ::-1] for picture in pictures]
        if not self.planes:
            return self._levelled(np.stack(pictures, dtype=np.float32, casting="unsafe"), (3,))
        planes = np.stack([picture.transpose(2, 0, 1) for picture in pictures])
        return self._levelled(planes.astype(np.float32, order="C"), (3, 1, 1))

    def _levelled(self, pixels: np.ndarray, channels: tuple[int, ...]) -> np.ndarray:
        if self.levels == BYTES:
            return pixels
        for change, number in zip((np.divide, np.subtract), self.levels, strict=True):
            by_channel = np.array(number, np.float32)
            change(pixels, by_channel.reshape(channels if by_channel.ndim else ()), out=pixels)
        return pixels


def _normal(mean: tuple[float, float, float], std: tuple[float, float, float]) -> Levels:
    """torchvision's Normalize on channels of 0 to 1."""
    red, green, blue = (m / s for m, s in zip(mean, std, strict=True))
    return Levels((255 * std[0], 255 * std[1], 255 * std[2]), (red, green, blue))


_UNIT, _SIGNED = Levels(255.0), Levels(127.5, 1.0)
_BICUBIC, _LANCZOS = Image.Resampling.BICUBIC, Image.Resampling.LANCZOS
_BILINEAR = Image.Resampling.BILINEAR
_BLACK, _IMAGENET_GREY = (0, 0, 0), (124, 116, 104)

WD = Family("SmilingWolf's taggers", View(), False, "BGR")
"""wd-v1-4 to v3, as kohya's script and SmilingWolf's demo feed them."""
Z3D = Family("Z3D-E621", View(), False, "BGR")
DEEPDANBOORU = Family("DeepDanbooru", View(512, "inside", None, None), False, "RGB", _UNIT)
"""KichangKim/DeepDanbooru: made smaller by area, its edge pixels repeated to the square."""
CL1 = Family("cl_tagger 1", View(), True, "BGR", _SIGNED, logits=True, answers={"logits": True, "output": True})  # fmt: skip
CL2 = Family("cl_tagger 2", View(384, "stretch", WHITE, _BICUBIC), True, "RGB", _SIGNED, logits=True, answers={"logits": True})  # fmt: skip
PIXAI = Family("PixAI 0.9", View(448, "stretch", WHITE, _BILINEAR), True, "RGB", _SIGNED)
"""pixai-labs' handler: squashed, neither padded nor cropped."""
PIXAI1 = Family("PixAI 1.0", View(1008, "inside", _BLACK, _BILINEAR), True, "RGB", _SIGNED, logits=True, answers={"prediction": False} | _LOGITS)  # fmt: skip
CAMIE1 = Family("Camie 1", View(512, "inside", _BLACK, _LANCZOS), True, "RGB", _UNIT, logits=True, answers=_LOGITS)  # fmt: skip
CAMIE1_CSV = replace(CAMIE1, answers=_PROBABILITIES | _LOGITS)
"""deepghs' copies, which have probabilities too."""
CAMIE2 = Family(
    "Camie 2",
    View(512, "inside", _IMAGENET_GREY, _LANCZOS),
    True,
    "RGB",
    _normal((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    logits=True,
    answers=_LOGITS,
)
JOYTAG = Family(
    "JoyTag",
    View(448, "square", WHITE, _BICUBIC),
    True,
    "RGB",
    _normal((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    logits=True,
    answers={"tags": True, "logits": True},
)
