"""Picture files to pixels: decoding as a viewer shows them (or as kohya does), resizing, cropping."""

import io
import logging
import math
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageFile, ImageOps

from ..sdxl.buckets import Placement, Size
from .colour import as_shown
from .dataset import Interpolation
from .file_names import FORMATS, NAMES

log = logging.getLogger(__name__)

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

_ORIENTATION_TAG = 0x0112
_PIL_FILTERS = {"lanczos": Image.Resampling.LANCZOS, "box": Image.Resampling.BOX}
_CV2_FILTERS = {
    "nearest": cv2.INTER_NEAREST_EXACT,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
}
_MAX_PIXELS = 178_956_970  # where Pillow draws the line
_MAX_RATIO = 32  # a bucket would get a sliver of a picture that is enlarged beyond measure
_LARGE_PIXELS = 1 << 24
_one_large = threading.Lock()  # several at a time would not fit into memory
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
        ValueError: the file is missing, broken, too large, or no picture of a format that is read.
    """
    with opened(path, data) as image:
        if at_least is not None:
            scale = max(1.0, math.sqrt(image.width * image.height / at_least))
            smallest = (math.ceil(image.width / scale), math.ceil(image.height / scale))
            image.draft("RGB", smallest)
        return to_rgb(image, kohya)


@contextmanager
def opened(path: Path, data: bytes | None = None) -> Iterator[Image.Image]:
    """A picture file open in Pillow; ``data`` are its bytes if read already.

    Raises:
        ValueError: what is done with it inside fails as it does for broken files; names the file.
    """
    try:
        with _open(path, data) as image:
            yield image
    except DECODE_ERRORS as error:
        raise ValueError(f"Cannot read the picture {path}: {explain(error)}") from error


def to_rgb(image: Image.Image, kohya: bool = False) -> np.ndarray:
    """The pixels of an open picture as ``load_rgb`` describes them; without ``kohya`` it is turned upright."""
    with _room_for(image):
        shown = image.convert("RGB") if kohya else as_shown(image)
    return np.array(shown, dtype=np.uint8)


def load_alpha(path: Path, data: bytes, *, kohya: bool = False) -> np.ndarray | None:
    """The opacity of a picture, uint8 [H, W], turned as ``load_rgb`` turns it; None where all is opaque.

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
    """The (width, height) of a picture after EXIF rotation, having made sure that all of it decodes.

    Raises:
        ValueError: the bytes are broken, too large, animated, or no picture; says which.
    """
    if not data:
        raise ValueError("the file is empty")
    try:
        with _open(path, data) as image:
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
        raise ValueError("it is an animation; save the frame that you want as a picture")
    if max(image.size) > _MAX_RATIO * min(image.size):
        width, height = image.size
        raise ValueError(f"it is {width} x {height} pixels, longer than 1:{_MAX_RATIO}; crop it")


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except SyntaxError as error:
        raise ValueError("its EXIF data are damaged; save it anew from an editor") from error


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
        ValueError: the file is missing or no picture.
    """
    with opened(path) as image:
        return image.size


def explain(error: Exception) -> str:
    """Say in a user's words why a picture could not be decoded."""
    if isinstance(error, Image.UnidentifiedImageError):
        return f"it is not a {NAMES} picture, whatever its name says"
    if isinstance(error, Image.DecompressionBombError):
        return "it has more pixels than is safe to decode; make a smaller copy"
    if isinstance(error, FileNotFoundError):
        return "the file is gone"
    if isinstance(error, PermissionError):
        return "the file may not be read; check its permissions"
    if isinstance(error, OSError) and error.errno is not None:
        return error.strerror or str(error)
    if isinstance(error, MemoryError):
        return "there is not enough memory to decode it"
    if type(error) is ValueError:  # a sentence of ours
        return str(error)
    return f"it is damaged: {error or type(error).__name__}"


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


def contact_sheet(
    paths: Sequence[Path],
    columns: int = 8,
    thumb: int = 192,
    make: Callable[[Path, int], np.ndarray] | None = None,
) -> np.ndarray:
    """Thumbnails of up to 64 pictures, evenly picked, as uint8 RGB [rows * thumb, columns * thumb, 3].

    A picture that cannot be read is a dark red square. ``make`` gives a thumbnail where it is known
    already, and raises ValueError where there is none.

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
        path = paths[place * len(paths) // count]
        try:
            tile = (make or thumbnail)(path, thumb)
        except ValueError as error:
            log.warning("No thumbnail: %s", error)
            tile = np.full((thumb, thumb, 3), _BROKEN_COLOUR, dtype=np.uint8)
        top = place // columns * thumb + (thumb - tile.shape[0]) // 2
        left = place % columns * thumb + (thumb - tile.shape[1]) // 2
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet


def _open(path: Path, data: bytes | None) -> Image.Image:
    image = Image.open(path if data is None else io.BytesIO(data), formats=FORMATS)
    if image.size[0] * image.size[1] > _MAX_PIXELS:  # other packs switch Pillow's own limit off
        image.close()
        raise Image.DecompressionBombError(f"{image.size[0]} x {image.size[1]} pixels")
    return image


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
    """The picture within ``side`` x ``side`` pixels, uint8 RGB; ``data`` are its bytes if read already.

    Raises:
        ValueError: the picture cannot be read.
    """
    with opened(path, data) as image, _room_for(image):
        image.draft("RGB", (side, side))
        shown = as_shown(image)
    shown.thumbnail((side, side), Image.Resampling.BICUBIC)
    return np.asarray(shown)
