"""Image files opened in Pillow: which formats are read, how large they may be, what goes wrong in a user's words."""

from __future__ import annotations

import io
import logging
import struct
import textwrap
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from os import PathLike

from PIL import Image, features

from .png_levels import match_transparency

log = logging.getLogger(__name__)

_AVIF = "avif" in features.modules and bool(features.check("avif"))  # Pillow 11.3 and later

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", *(["AVIF"] if _AVIF else []))
"""Pillow's names of the formats that are read, whatever a file's ending says."""

NAMES = "PNG, JPEG, WebP, BMP or AVIF" if _AVIF else "PNG, JPEG, WebP or BMP"
"""The same for a user."""

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
"""What files that are broken, too large, or no images end in; ``decoding`` makes all else one of these."""

MAX_PIXELS = 178_956_970
"""Where Pillow draws the line; other packs switch its own limit off."""


_LARGE_PIXELS = 1 << 24
_MOST_LETTERS = 200  # of what a decoder says
_one_large = threading.Lock()  # several at a time would not fit into memory

Source = str | PathLike[str] | None
Before = Callable[[Image.Image], object]
"""Called with an image before it is decoded: may refuse it, or ask for a smaller one (``draft``)."""


@contextmanager
def opened(
    path: Source, data: bytes | None = None, before: Before | None = None, *, kohya: bool = False
) -> Iterator[Image.Image]:
    """An image decoded by Pillow; ``data`` are its bytes if read already, ``path`` then its name at most.

    ``kohya``: as Pillow gives it, a transparent level of less than 8 bits included, which is none there.

    Raises:
        ValueError: what is done with it inside fails as it does for broken files; names the file.
    """
    try:
        with decoded(path, data, before, kohya=kohya) as image:
            yield image
    except DECODE_ERRORS as error:
        raise unreadable(path, error) from error


@contextmanager
def decoded(
    path: Source, data: bytes | None = None, before: Before | None = None, *, kohya: bool = False
) -> Iterator[Image.Image]:
    """As ``opened``, but raises DECODE_ERRORS. One large image is in memory at a time."""
    with open_image(path, data) as image, _room_for(image):
        with decoding():
            if not kohya:
                match_transparency(image)
            if before is not None:
                before(image)
            image.load()
        yield image


def open_image(path: Source, data: bytes | None = None) -> Image.Image:
    """An image whose header alone is read. Raises DECODE_ERRORS."""
    source = path if data is None else io.BytesIO(data)
    if source is None:
        raise ValueError("there is neither a path nor bytes")
    with decoding():
        image = Image.open(source, formats=FORMATS)
    if image.size[0] * image.size[1] > MAX_PIXELS:
        image.close()
        raise Image.DecompressionBombError(f"{image.size[0]} x {image.size[1]} pixels")
    return image


@contextmanager
def decoding() -> Iterator[None]:
    """Around all that reads a file's bytes; whatever a decoder raises becomes one of DECODE_ERRORS."""
    try:
        yield
    except DECODE_ERRORS:
        raise
    # Decoders are C libraries and plugins, each with errors of its own (AVIF's is a RuntimeError), and one
    # file must not stop a folder: here, and only here, all of them are caught.
    except Exception as error:
        raise OSError(f"{error}" or type(error).__name__) from error


def _room_for(image: Image.Image) -> AbstractContextManager[object]:
    return _one_large if image.size[0] * image.size[1] > _LARGE_PIXELS else nullcontext()


def unreadable(path: str | PathLike[str] | None, error: Exception) -> ValueError:
    """The error for the user about a file that cannot be read; without a name if ``path`` is None."""
    name = "" if path is None else f" {path}"
    return ValueError(
        f"Cannot read the image{name}: {explain(error)}; repair it or take it out of the dataset"
    )


def explain(error: Exception) -> str:
    """Say in a user's words why an image could not be decoded."""
    if isinstance(error, Image.UnidentifiedImageError):
        return f"it is not a {NAMES} image, whatever its name says"
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
    said = textwrap.shorten(str(error), _MOST_LETTERS)
    return f"it is damaged: {said or type(error).__name__}"
