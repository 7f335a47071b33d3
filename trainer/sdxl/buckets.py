"""Aspect buckets and SDXL's size conditioning, number for number as kohya's sd-scripts make them."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from ...base.config import Config, Problems
from .constants import LATENT_PIXELS

Size = tuple[int, int]
"""(width, height) in pixels."""

MAX_SIDE = 16384
"""No image is trained with a longer side."""


@dataclass(frozen=True)
class BucketConfig(Config):
    """How images are grouped by shape, as in kohya."""

    title = "Bucket settings"

    resolution: Size = (1024, 1024)
    """Images are resized to about the area of this (width, height) in pixels, at least 8 by 8; without
    buckets to exactly this size, of multiples of 8."""
    enabled: bool = True
    """Images are grouped by shape; off crops all to ``resolution``."""
    min_reso: int = 704
    """No side of a bucket is shorter than this number of pixels, rounded down to a multiple of ``step``;
    it must be at least ``step`` and at most the resolution's smaller side."""
    max_reso: int = 2048
    """No side of a bucket is longer than this number of pixels, rounded up to a multiple of ``step``; it
    must be at least the resolution's larger side."""
    step: int = 64
    """The sides of buckets are multiples of this number of pixels, itself a multiple of 8."""
    no_upscale: bool = False
    """Images are never enlarged; small ones get smaller buckets (kohya: bucket_no_upscale)."""

    def check(self, problems: Problems) -> None:
        largest = max(*self.resolution, self.max_reso, self.step)
        if largest > MAX_SIDE:
            problems.append(f"a side has {largest} pixels; allowed: {MAX_SIDE}")
        elif min(self.resolution) < LATENT_PIXELS:
            problems.append(
                f"resolution is {self.resolution}; give at least {LATENT_PIXELS} by {LATENT_PIXELS}"
            )
        elif not self.enabled:
            problems.need(
                not any(side % LATENT_PIXELS for side in self.resolution),
                f"without buckets resolution must be a multiple of 8, got {self.resolution}",
            )
        elif self.step < LATENT_PIXELS or self.step % LATENT_PIXELS:
            problems.append(
                f"step must be a multiple of {LATENT_PIXELS} (64 is usual), got {self.step}"
            )
        else:
            self._check_sides(problems)

    def _check_sides(self, problems: Problems) -> None:
        """What is wrong with the sides of buckets of a sound resolution and step."""
        problems.need(
            self.lowest >= self.step,
            f"min_reso must be at least the step {self.step}, got {self.min_reso}",
        )
        problems.need(
            self.lowest <= min(self.resolution),
            f"min_reso {self.min_reso} is above the resolution's smaller side "
            f"{min(self.resolution)}; lower min_reso or raise the resolution",
        )
        problems.need(
            self.highest >= max(self.resolution),
            f"max_reso {self.max_reso} is below the resolution's larger side "
            f"{max(self.resolution)}; raise max_reso or lower the resolution",
        )

    @property
    def lowest(self) -> int:
        """``min_reso`` rounded down to a multiple of ``step``."""
        return self.min_reso // self.step * self.step

    @property
    def highest(self) -> int:
        """``max_reso`` rounded up to a multiple of ``step``."""
        return -(-self.max_reso // self.step) * self.step

    def at(self, side: int) -> "BucketConfig":
        """The same shapes at about ``side`` x ``side`` pixels; the shortest and longest side scale along.

        Raises:
            ValueError: the step is too coarse for that resolution.
        """
        scale = side / math.sqrt(self.resolution[0] * self.resolution[1])
        shortest = max(self.step, int(self.min_reso * scale))
        longest = math.ceil(self.max_reso * scale)
        return replace(self, resolution=(side, side), min_reso=shortest, max_reso=longest)


class Placement(NamedTuple):
    """How one image gets into its bucket: resize to ``resized``, then crop ``bucket`` at (left, top)."""

    bucket: Size
    resized: Size
    crop: tuple[int, int]
    ar_error: float

    def enlargement(self, size: Size) -> float:
        """The factor by which an image of ``size`` is enlarged; below 1 it is made smaller."""
        return max(self.resized[0] / size[0], self.resized[1] / size[1])

    def cropped_share(self) -> float:
        """The share of the image that the crop takes away."""
        return 1 - self.bucket[0] * self.bucket[1] / (self.resized[0] * self.resized[1])


class SizeConditioning(NamedTuple):
    """SDXL's six size numbers, each pair in the order of the UNet's input: (height, width), (top, left)."""

    original_hw: tuple[int, int]
    crop_tl: tuple[int, int]
    target_hw: tuple[int, int]


def parse_resolutions(text: str) -> tuple[int, ...]:
    """The resolutions that a user typed, in pixels: whole numbers between commas or spaces.

    Raises:
        ValueError: something else stands there.
    """
    words = text.replace(",", " ").split()
    wrong = [word for word in words if not word.isdecimal()]
    if wrong:
        raise ValueError(
            f"{wrong[0]!r} is no resolution; write numbers of pixels, such as 768, 512."
        )
    return tuple(dict.fromkeys(map(int, words)))


@lru_cache(maxsize=64)
def predefined_resolutions(settings: BucketConfig) -> tuple[Size, ...]:
    """The buckets that images are matched with, sorted; empty for ``no_upscale``, which makes its own."""
    if not settings.enabled:
        return (settings.resolution,)
    if settings.no_upscale:
        return ()
    area, step = settings.resolution[0] * settings.resolution[1], settings.step
    square = int(math.sqrt(area) // step) * step
    found = {(square, square)}
    for width in range(settings.lowest, settings.highest + 1, step):
        height = min(settings.highest, area // width // step * step)
        if height >= settings.lowest:
            found |= {(width, height), (height, width)}
    return tuple(sorted(found))


def assign(size: Size, settings: BucketConfig) -> Placement:
    """Choose the bucket of an image of ``size`` (width, height) and the way into it.

    Raises:
        ValueError: with ``no_upscale``, the image is smaller than one step of the bucket grid.
    """
    if settings.enabled and settings.no_upscale:
        bucket, resized = _without_upscaling(size, settings)
    else:
        bucket, resized = _nearest(size, predefined_resolutions(settings))
    crop = ((resized[0] - bucket[0]) // 2, (resized[1] - bucket[1]) // 2)
    return Placement(bucket, resized, crop, bucket[0] / bucket[1] - size[0] / size[1])


def _nearest(size: Size, resolutions: tuple[Size, ...]) -> tuple[Size, Size]:
    width, height = size
    ratio = width / height
    bucket = size
    if size not in resolutions:
        bucket = min(resolutions, key=lambda reso: abs(reso[0] / reso[1] - ratio))
    by_height = ratio > bucket[0] / bucket[1]
    scale = bucket[1] / height if by_height else bucket[0] / width
    return bucket, (int(width * scale + 0.5), int(height * scale + 0.5))


def _without_upscaling(size: Size, settings: BucketConfig) -> tuple[Size, Size]:
    area, step = settings.resolution[0] * settings.resolution[1], settings.step
    resized = size if size[0] * size[1] <= area else _shrunk(size, area, step)
    bucket = (resized[0] // step * step, resized[1] // step * step)
    if min(bucket) < step:
        raise ValueError(
            f"{size[0]}x{size[1]} pixels are too few or too narrow for a bucket grid of {step} without "
            "enlarging: leave the image out, or let small images be enlarged (no_upscale off)."
        )
    return bucket, resized


def _shrunk(size: Size, area: int, step: int) -> Size:
    """Of two roundings to the grid, by width and by height, the one whose shape is nearer to the image's."""
    ratio = size[0] / size[1]
    width = math.sqrt(area * ratio)

    def rounded(length: float) -> int:
        return int(length + 0.5) // step * step

    by_width, by_height = rounded(width), rounded(area / width)
    height_of, width_of = rounded(by_width / ratio), rounded(by_height * ratio)
    error_w = abs(by_width / height_of - ratio) if height_of else math.inf
    error_h = abs(width_of / by_height - ratio) if by_height else math.inf
    if error_w < error_h:
        return by_width, int(by_width / ratio + 0.5)
    return int(by_height * ratio + 0.5), by_height


def kohya_crop(bucket: Size, size: Size) -> tuple[float, float, float, float]:
    """kohya's crop numbers (left, top, right, bottom): a formula of the two shapes, not the crop made."""
    ratio = size[0] / size[1]
    if bucket[0] / bucket[1] > ratio:
        width, height = bucket[1] * ratio, float(bucket[1])
    else:
        width, height = float(bucket[0]), bucket[0] / ratio
    left, top = (bucket[0] - width) // 2, (bucket[1] - height) // 2
    return left, top, left + width, top + height


def conditioning(
    placement: Placement, original_size: Size, flipped: bool, kohya: bool
) -> SizeConditioning:
    """The size numbers of an image of ``original_size`` (width, height), plain or flipped.

    By default the crop is the true one, in pixels of the resized image; ``kohya`` takes its formula.
    """
    (width, height), (resized_width, _) = placement.bucket, placement.resized
    if kohya:
        left_f, top_f, right_f, _ = kohya_crop(placement.bucket, original_size)
        left, top = int(width - right_f if flipped else left_f), int(top_f)
    else:
        left, top = placement.crop
        left = resized_width - width - left if flipped else left
    return SizeConditioning((original_size[1], original_size[0]), (top, left), (height, width))
