"""Image files opened in Pillow: which formats are read, how large they may be, what goes wrong in a user's words."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

from PIL import Image, features

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
"""What Pillow raises for files that are broken, too large, or no images."""

MAX_PIXELS = 178_956_970
"""Where Pillow draws the line; other packs switch its own limit off."""


@contextmanager
def opened(path: str | PathLike[str] | None, data: bytes | None = None) -> Iterator[Image.Image]:
    """An image file open in Pillow; ``data`` are its bytes if read already, ``path`` then its name at most.

    Raises:
        ValueError: what is done with it inside fails as it does for broken files; names the file.
    """
    try:
        with open_image(path, data) as image:
            yield image
    except DECODE_ERRORS as error:
        raise unreadable(path, error) from error


def open_image(path: str | PathLike[str] | None, data: bytes | None = None) -> Image.Image:
    """As ``opened``, but raises DECODE_ERRORS as Pillow does."""
    source = path if data is None else io.BytesIO(data)
    if source is None:
        raise ValueError("there is neither a path nor bytes")
    image = Image.open(source, formats=FORMATS)
    if image.size[0] * image.size[1] > MAX_PIXELS:
        image.close()
        raise Image.DecompressionBombError(f"{image.size[0]} x {image.size[1]} pixels")
    return image


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
    return f"it is damaged: {str(error) or type(error).__name__}"
