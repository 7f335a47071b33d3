"""Picture files to pixels: decoding as a viewer shows them (or as kohya does), resizing, cropping."""

import io
import logging
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps

from .buckets import Placement, Size
from .dataset import Interpolation

log = logging.getLogger(__name__)

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow raises for files that are broken, too large, or no pictures."""

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_ORIENTATION_TAG = 0x0112
_PIL_FILTERS = {"lanczos": Image.Resampling.LANCZOS, "box": Image.Resampling.BOX}
_CV2_FILTERS = {
    "nearest": cv2.INTER_NEAREST_EXACT,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
}
_MAX_PIXELS = 178_956_970  # where Pillow draws the line
_MAX_THUMBS = 64
_SHEET_GREY = 40
_BROKEN_COLOUR = (120, 30, 30)


def load_rgb(
    path: Path, *, kohya: bool = False, data: bytes | None = None, at_least: int | None = None
) -> np.ndarray:
    """Decode a picture file to uint8 RGB of shape [H, W, 3]; ``data`` are its bytes if read already.

    With ``at_least`` a JPEG is decoded at a half, a quarter or an eighth if that many pixels are left,
    which is several times faster.

    EXIF rotation is applied, an ICC profile converted to sRGB, transparency put on white and 16 bit
    scaled to 8. With ``kohya`` pixels are Pillow's ``convert("RGB")`` and nothing else, as in
    sd-scripts: no rotation, no profile, transparency dropped.

    Raises:
        ValueError: the file is missing, broken, too large, or not a PNG, JPEG, WebP or BMP picture.
    """
    try:
        with _open(path, data) as image:
            if at_least is not None:
                scale = max(1.0, math.sqrt(image.width * image.height / at_least))
                image.draft(
                    "RGB", (math.ceil(image.width / scale), math.ceil(image.height / scale))
                )
            shown = image.convert("RGB") if kohya else _as_shown(image)
            return np.array(shown, dtype=np.uint8)
    except DECODE_ERRORS as error:
        raise ValueError(f"Cannot read the picture {path}: {explain(error)}") from error


def inspect(path: Path, data: bytes) -> Size:
    """The (width, height) of a picture after EXIF rotation, having made sure that all of it decodes.

    Raises:
        ValueError: the bytes are broken, too large, animated, or no picture; says which.
    """
    try:
        with _open(path, data) as image:
            size = image.size
            if getattr(image, "is_animated", False) and image.format in {"PNG", "WEBP"}:
                raise ValueError("it is an animation; save the frame that you want as a picture")
            image.draft("RGB", (1, 1))  # JPEG: decode at an eighth, several times faster
            image.load()
            turned = image.getexif().get(_ORIENTATION_TAG, 1) in (5, 6, 7, 8)
    except DECODE_ERRORS as error:
        raise ValueError(explain(error)) from error
    return (size[1], size[0]) if turned else size


def stored_size(path: Path) -> Size:
    """The (width, height) in the file, EXIF rotation not applied, as kohya sees it; reads the header only.

    Raises:
        ValueError: the file is missing or no picture.
    """
    try:
        with _open(path, None) as image:
            return image.size
    except DECODE_ERRORS as error:
        raise ValueError(f"Cannot read the picture {path}: {explain(error)}") from error


def explain(error: Exception) -> str:
    """Say in a user's words why a picture could not be decoded."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "it is not a PNG, JPEG, WebP or BMP picture, whatever its name says"
    if isinstance(error, Image.DecompressionBombError):
        return "it has more pixels than is safe to decode; make a smaller copy"
    if isinstance(error, FileNotFoundError):
        return "the file is gone"
    if isinstance(error, PermissionError):
        return "the file may not be read; check its permissions"
    return str(error) or type(error).__name__


def resize_and_crop(
    image: np.ndarray, placement: Placement, interpolation: Interpolation | None = None
) -> np.ndarray:
    """Bring uint8 RGB [H, W, 3] into its bucket, [bucket_h, bucket_w, 3], as kohya does.

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


def contact_sheet(paths: Sequence[Path], columns: int = 8, thumb: int = 192) -> np.ndarray:
    """Thumbnails of up to 64 pictures, evenly picked, as uint8 RGB [rows * thumb, columns * thumb, 3].

    A picture that cannot be read is a dark red square.

    Raises:
        ValueError: there are no pictures, or no columns.
    """
    if not paths or columns < 1:
        raise ValueError(
            f"A contact sheet needs pictures and columns, got {len(paths)} and {columns}."
        )
    count = min(len(paths), _MAX_THUMBS)
    columns = min(columns, count)
    shape = (math.ceil(count / columns) * thumb, columns * thumb, 3)
    sheet = np.full(shape, _SHEET_GREY, dtype=np.uint8)
    for place in range(count):
        tile = _thumbnail(paths[place * len(paths) // count], thumb)
        top = place // columns * thumb + (thumb - tile.shape[0]) // 2
        left = place % columns * thumb + (thumb - tile.shape[1]) // 2
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet


def _open(path: Path, data: bytes | None) -> Image.Image:
    image = Image.open(path if data is None else io.BytesIO(data), formats=_FORMATS)
    if image.size[0] * image.size[1] > _MAX_PIXELS:  # other packs switch Pillow's own limit off
        image.close()
        raise Image.DecompressionBombError(f"{image.size[0]} x {image.size[1]} pixels")
    return image


def _as_shown(image: Image.Image) -> Image.Image:
    """The picture as a viewer shows it, mode RGB."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bit(image)
    if not image.has_transparency_data:
        return _to_srgb(image)
    rgba = image.convert("RGBA")
    rgb = rgba.convert("RGB")
    rgb.info["icc_profile"] = image.info.get("icc_profile")
    canvas = Image.new("RGB", image.size, (255, 255, 255))
    canvas.paste(_to_srgb(rgb), mask=rgba.getchannel("A"))
    return canvas


def _to_8_bit(image: Image.Image) -> Image.Image:
    levels = np.asarray(image).astype(np.float64)
    top = 65535.0 if image.mode.startswith("I") else 1.0
    return Image.fromarray((levels / top * 255.0 + 0.5).clip(0, 255).astype(np.uint8))


def _to_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if image.mode not in {"L", "RGB", "CMYK"}:
        image = image.convert("RGB")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "srgb" not in ImageCms.getProfileDescription(source).lower():
                target = ImageCms.createProfile("sRGB")
                converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
                image = converted or image
        except (ImageCms.PyCMSError, OSError) as error:
            log.info("A colour profile is not used: %s", error)
    return image.convert("RGB")


def _resize(image: np.ndarray, size: Size, name: str) -> np.ndarray:
    if name in _PIL_FILTERS:
        return np.asarray(Image.fromarray(image).resize(size, _PIL_FILTERS[name]))
    if name in _CV2_FILTERS:
        return cv2.resize(image, size, interpolation=_CV2_FILTERS[name])
    known = ", ".join(sorted([*_PIL_FILTERS, *_CV2_FILTERS]))
    raise ValueError(f"Unknown interpolation {name!r}; choose one of {known}.")


def _thumbnail(path: Path, side: int) -> np.ndarray:
    try:
        with _open(path, None) as image:
            image.draft("RGB", (side, side))
            shown = _as_shown(image)
    except DECODE_ERRORS as error:
        log.warning("No thumbnail of %s: %s", path, explain(error))
        return np.full((side, side, 3), _BROKEN_COLOUR, dtype=np.uint8)
    shown.thumbnail((side, side), Image.Resampling.BICUBIC)
    return np.asarray(shown)
