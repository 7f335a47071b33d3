"""Image files to pixels: decoding as a viewer shows them (or as kohya does), resizing, cropping."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageFile

from ...base.image_file import DECODE_ERRORS, decoded, explain, open_image, opened, unreadable
from ...base.rgb import high_byte, opacity, upright_8_bit
from ..sdxl.buckets import Placement, Size
from .colour import as_shown
from .dataset import Interpolation

_ORIENTATION_TAG = 0x0112
_PIL_FILTERS = {"lanczos": Image.Resampling.LANCZOS, "box": Image.Resampling.BOX}
_CV2_FILTERS = {
    "nearest": cv2.INTER_NEAREST_EXACT,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
}
_MAX_RATIO = 32  # a bucket would get a sliver of an image that is enlarged beyond measure


def load_rgb(
    path: Path, *, kohya: bool = False, data: bytes | None = None, at_least: int | None = None
) -> np.ndarray:
    """Decode an image file to uint8 RGB of shape [H, W, 3]; ``data`` are its bytes if read already.

    With ``at_least`` a JPEG is decoded at a half, a quarter or an eighth if that many pixels are left,
    which is several times faster.

    EXIF rotation is applied, an ICC profile converted to sRGB, transparency blended with white and 16 bit
    scaled to 8. With ``kohya`` pixels are Pillow's ``convert("RGB")`` and nothing else, as in
    sd-scripts: no rotation, no profile, transparency dropped.

    Raises:
        ValueError: the file is missing, broken, too large, or no image of a format that is read.
    """

    def smaller(image: Image.Image) -> None:
        if at_least is not None:
            scale = max(1.0, math.sqrt(image.width * image.height / at_least))
            smallest = (math.ceil(image.width / scale), math.ceil(image.height / scale))
            image.draft("RGB", smallest)

    with opened(path, data, smaller) as image:
        return to_rgb(image, kohya)


def to_rgb(image: Image.Image, kohya: bool = False) -> np.ndarray:
    """The pixels of an open image as ``load_rgb`` describes them; without ``kohya`` it is turned upright."""
    return np.array(image.convert("RGB") if kohya else as_shown(image), dtype=np.uint8)


def load_alpha(path: Path, data: bytes, *, kohya: bool = False) -> np.ndarray | None:
    """The opacity of an image, uint8 [H, W], turned as ``load_rgb`` turns it; None where all is opaque.

    Raises:
        ValueError: as ``load_rgb``.
    """
    try:
        with open_image(path, data) as image:  # its header tells, most often
            if not image.has_transparency_data or (kohya and image.mode.startswith("I")):
                return None  # Pillow's conversion makes 16 bits of grey opaque
    except DECODE_ERRORS as error:
        raise unreadable(path, error) from error
    with opened(path, data, kohya=kohya) as image:
        seen = opacity(image if kohya else upright_8_bit(image, high_byte))
        alpha = None if seen is None else np.array(seen)
    return None if alpha is None or alpha.min() == 255 else alpha


def inspect(path: Path, data: bytes) -> Size:
    """The (width, height) of an image after EXIF rotation, having made sure that all of it decodes.

    Raises:
        ValueError: the bytes are broken, too large, animated, or no image; says which.
    """
    if not data:
        raise ValueError("the file is empty")
    size = (0, 0)

    def smaller(image: Image.Image) -> None:
        nonlocal size
        size = image.size
        _check_shape(image)
        image.draft("RGB", (1, 1))  # JPEG: decode at an eighth, several times faster

    try:
        with decoded(path, data, smaller) as image:
            orientation = _orientation(image)
            if orientation != 1:
                image = upright_8_bit(image, high_byte)
            seen = opacity(image)
            if seen is not None and seen.getextrema()[1] == 0:
                raise ValueError("it is wholly transparent")
    except DECODE_ERRORS as error:
        raise ValueError(explain(error)) from error
    return (size[1], size[0]) if orientation in (5, 6, 7, 8) else size


def _check_shape(image: Image.Image) -> None:
    if getattr(image, "is_animated", False) and image.format != "MPO":  # a photo and its preview
        raise ValueError("it is an animation; save the frame that you want as an image")
    if max(image.size) > _MAX_RATIO * min(image.size):
        width, height = image.size
        raise ValueError(f"it is {width} x {height} pixels, longer than 1:{_MAX_RATIO}; crop it")


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except SyntaxError as error:
        raise ValueError("its EXIF data are damaged; save it again from an editor") from error


@contextmanager
def whole_files_only() -> Iterator[None]:
    """Let Pillow refuse files that are cut off, though another pack may have allowed them."""
    allowed = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = allowed


def stored_size(path: Path) -> Size:
    """The (width, height) in the file, EXIF rotation not applied, as kohya sees it; reads the header only.

    Raises:
        ValueError: the file is missing or no image.
    """
    try:
        with open_image(path) as image:
            return image.size
    except DECODE_ERRORS as error:
        raise unreadable(path, error) from error


def resize_and_crop(
    image: np.ndarray, placement: Placement, interpolation: Interpolation | None = None
) -> np.ndarray:
    """Bring uint8 RGB [H, W, 3] into its bucket, [bucket_h, bucket_w, 3], as kohya does; a mask [H, W] too.

    Without ``interpolation``: area when neither side grows, else Lanczos.

    Raises:
        ValueError: the interpolation is unknown.
    """
    height, width = image.shape[:2]
    resized_w, resized_h = placement.resized
    if (width, height) != placement.resized:
        shrinks = width >= resized_w and height >= resized_h
        name = interpolation or ("area" if shrinks else "lanczos")
        image = _resize(image, placement.resized, name)
    left, top = placement.crop
    return np.ascontiguousarray(
        image[top : top + placement.bucket[1], left : left + placement.bucket[0]]
    )


def _resize(image: np.ndarray, size: Size, name: str) -> np.ndarray:
    if name in _PIL_FILTERS:
        return np.asarray(Image.fromarray(image).resize(size, _PIL_FILTERS[name]))
    if name in _CV2_FILTERS:
        return cv2.resize(image, size, interpolation=_CV2_FILTERS[name])
    known = ", ".join(sorted([*_PIL_FILTERS, *_CV2_FILTERS]))
    raise ValueError(f"Unknown interpolation {name!r}; choose one of {known}.")


def thumbnail(path: Path, side: int, data: bytes | None = None) -> np.ndarray:
    """The image within ``side`` x ``side`` pixels, uint8 RGB; ``data`` are its bytes if read already.

    Raises:
        ValueError: the image cannot be read.
    """
    with opened(path, data, lambda image: image.draft("RGB", (side, side))) as image:
        shown = as_shown(image)
    shown.thumbnail((side, side), Image.Resampling.BICUBIC)
    return np.asarray(shown)
