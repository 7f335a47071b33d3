"""Image files to pixels: decoding as a viewer shows them (or as kohya does), resizing, cropping."""

import math
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageFile, ImageOps

from ...base.image_file import DECODE_ERRORS, explain, open_image, opened
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
_LARGE_PIXELS = 1 << 24
_one_large = threading.Lock()  # several at a time would not fit into memory


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
    with opened(path, data) as image:
        if at_least is not None:
            scale = max(1.0, math.sqrt(image.width * image.height / at_least))
            smallest = (math.ceil(image.width / scale), math.ceil(image.height / scale))
            image.draft("RGB", smallest)
        return to_rgb(image, kohya)


def to_rgb(image: Image.Image, kohya: bool = False) -> np.ndarray:
    """The pixels of an open image as ``load_rgb`` describes them; without ``kohya`` it is turned upright."""
    with _room_for(image):
        shown = image.convert("RGB") if kohya else as_shown(image)
    return np.array(shown, dtype=np.uint8)


def load_alpha(path: Path, data: bytes, *, kohya: bool = False) -> np.ndarray | None:
    """The opacity of an image, uint8 [H, W], turned as ``load_rgb`` turns it; None where all is opaque.

    Raises:
        ValueError: as ``load_rgb``.
    """
    with opened(path, data) as image:
        if not image.has_transparency_data or image.mode.startswith("I"):  # 16 bit: see as_shown
            return None
        with _room_for(image):
            upright = image if kohya else ImageOps.exif_transpose(image)
            alpha = np.array(upright.convert("RGBA").getchannel("A"))
    return alpha if alpha.min() < 255 else None


def inspect(path: Path, data: bytes) -> Size:
    """The (width, height) of an image after EXIF rotation, having made sure that all of it decodes.

    Raises:
        ValueError: the bytes are broken, too large, animated, or no image; says which.
    """
    if not data:
        raise ValueError("the file is empty")
    try:
        with open_image(path, data) as image:
            size = image.size
            _check_shape(image)
            image.draft("RGB", (1, 1))  # JPEG: decode at an eighth, several times faster
            with _room_for(image):
                image.load()
                if "A" in image.getbands() and image.getchannel("A").getextrema()[1] == 0:
                    raise ValueError("it is wholly transparent")
            turned = _orientation(image) in (5, 6, 7, 8)
    except DECODE_ERRORS as error:
        raise ValueError(explain(error)) from error
    return (size[1], size[0]) if turned else size


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
    with opened(path) as image:
        return image.size


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


def _room_for(image: Image.Image) -> AbstractContextManager[object]:
    return _one_large if image.size[0] * image.size[1] > _LARGE_PIXELS else nullcontext()


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
    with opened(path, data) as image, _room_for(image):
        image.draft("RGB", (side, side))
        shown = as_shown(image)
    shown.thumbnail((side, side), Image.Resampling.BICUBIC)
    return np.asarray(shown)
