"""Makers of odd image files, and the pixels that a viewer shows of them."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pack.tests import bad_profiles

ORIENTATION = 0x0112
BEST = {"quality": 100, "subsampling": 0}

Maker = Callable[[Path], object]


def base() -> np.ndarray:
    """Six patches of 16 x 16 pixels, no two alike: uint8 RGB [32, 48, 3]."""
    rows = [
        [(255, 0, 0), (0, 255, 0), (0, 0, 255)],
        [(255, 255, 255), (128, 128, 128), (200, 180, 20)],
    ]
    return np.asarray(rows, np.uint8).repeat(16, 0).repeat(16, 1)


def image() -> Image.Image:
    return Image.fromarray(base())


def on_white() -> np.ndarray:
    """The base with its left patches transparent, as a viewer with a white page shows it."""
    pixels = base()
    pixels[:, :16] = 255
    return pixels


def see_through() -> Image.Image:
    """The base with its left patches transparent."""
    alpha = np.full((32, 48), 255, np.uint8)
    alpha[:, :16] = 0
    return Image.fromarray(np.dstack([base(), alpha]))


def saved(make: Callable[[], Image.Image], kind: str, **options: object) -> Maker:
    best = BEST if kind in ("JPEG", "MPO") else {}
    return lambda path: make().save(path, kind, **best, **options)


def cut(kind: str, part: float) -> Maker:
    """A file of which only a part was written."""

    def make(path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(noise).save(file, kind)
        path.write_bytes(file.getvalue()[: int(len(file.getvalue()) * part)])

    return make


def damaged_frame(path: Path) -> None:
    """An AVIF whose head is sound and whose image is not."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "AVIF")
    data = file.getvalue()
    place = data.index(b"mdat") + 4
    path.write_bytes(data[:place] + bytes(255 - byte for byte in data[place:]))


def turned(orientation: int, kind: str) -> Maker:
    """The base stored so that a viewer must turn it by its EXIF orientation to show it."""
    undo = {3: lambda a: a[::-1, ::-1], 5: lambda a: a.swapaxes(0, 1), 6: np.rot90}
    stored = Image.fromarray(np.ascontiguousarray(undo[orientation](base())))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    lossless = {"lossless": True} if kind == "WEBP" else {}
    return saved(lambda: stored, kind, exif=exif, **lossless)


def no_adobe_marker(path: Path) -> None:
    """A CMYK JPEG whose APP14 segment was taken out."""
    image().convert("CMYK").save(path, "JPEG", quality=100)
    data = path.read_bytes()
    place = data.index(b"\xff\xee")
    length = int.from_bytes(data[place + 2 : place + 4], "big")
    assert data[place + 4 : place + 9] == b"Adobe"
    path.write_bytes(data[:place] + data[place + 2 + length :])


def inks() -> Image.Image:
    patches = [[tuple(255 * ink for ink in inks) for inks in bad_profiles.INKS]]
    return Image.fromarray(np.asarray(patches, np.uint8).repeat(16, 0).repeat(16, 1), "CMYK")


def ink_colours() -> np.ndarray:
    patches = [[colour for _, colour in bad_profiles.INKS.values()]]
    return np.asarray(patches, np.uint8).repeat(16, 0).repeat(16, 1)


def sixteen_bit(pixels: np.ndarray) -> Maker:
    """A PNG of 16 bits a channel, written by OpenCV."""
    to_opencv = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    wide = pixels.astype(np.uint16) * 257
    if wide.ndim == 3:
        wide = cv2.cvtColor(wide, to_opencv[wide.shape[2]])
    return lambda path: path.write_bytes(cv2.imencode(".png", wide)[1].tobytes())


def frames(kind: str) -> Maker:
    """Two images in one file."""
    more = [Image.new("RGB", (48, 32), "red")]
    return saved(image, kind, save_all=True, append_images=more)


def damaged_exif(path: Path) -> None:
    """A PNG whose EXIF chunk is no EXIF."""
    image().save(path, "PNG", exif=b"Exif\0\0garbage")


def bomb(path: Path) -> None:
    """A PNG of a few bytes that says it has 900 million pixels."""
    head = (30000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    path.write_bytes(png([(b"IHDR", head), (b"IDAT", zlib.compress(bytes(90001))), (b"IEND", b"")]))


def png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in chunks:
        check = zlib.crc32(name + body).to_bytes(4, "big")
        data += len(body).to_bytes(4, "big") + name + body + check
    return data


def wide(width: int, height: int) -> np.ndarray:
    """An image that is the base stretched: its columns and rows repeated."""
    return cv2.resize(base(), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def grey() -> np.ndarray:
    """The base's green as a grey image, uint8 [32, 48]."""
    return base()[:, :, 1].copy()


def as_rgb(levels: np.ndarray) -> np.ndarray:
    return np.dstack([levels] * 3)


def black_and_white() -> np.ndarray:
    return np.where(grey() > 150, 255, 0).astype(np.uint8)


def grey_see_through() -> Image.Image:
    return Image.merge("LA", (Image.fromarray(grey()), see_through().getchannel("A")))


def grey_on_white() -> np.ndarray:
    pixels = as_rgb(grey())
    pixels[:, :16] = 255
    return pixels


def levels_png(levels: np.ndarray, bits: int, transparent: int) -> bytes:
    """A PNG of these levels, [H, W] grey or [H, W, 3] RGB, one of which (or the colour of it) is transparent."""
    colours = levels.reshape(*levels.shape[:2], -1)
    digits = (colours[..., None] >> np.arange(bits)[::-1]) & 1
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in digits.astype(np.uint8))
    height, width, channels = colours.shape
    head = struct.pack(">2I5B", width, height, bits, 2 if channels == 3 else 0, 0, 0, 0)
    level = struct.pack(f">{channels}H", *[transparent] * channels)
    chunks = [(b"IHDR", head), (b"tRNS", level), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return png(chunks)


def levels_see_through(bits: int, channels: int = 1) -> Maker:
    """Left patches of the transparent level or colour, the others black and white."""
    most, places = (1 << bits) - 1, np.arange(6).reshape(2, 3).repeat(16, 0).repeat(16, 1)
    levels = np.where(places % 3 == 0, most // 3, np.where(places % 2, most, 0))
    made = levels_png(np.dstack([levels] * channels), bits, most // 3)
    return lambda path: path.write_bytes(made)


def nothing_but_a_level(path: Path) -> None:
    path.write_bytes(levels_png(np.full((32, 48), 2), 2, 2))


def levels_on_white() -> np.ndarray:
    """What they show: the left is white, the rest black and white."""
    places = np.arange(6).reshape(2, 3).repeat(16, 0).repeat(16, 1)
    levels = np.where(places % 2, 255, 0).astype(np.uint8)
    levels[:, :16] = 255
    return as_rgb(levels)


def one_bit_on_white() -> np.ndarray:
    """One bit has no third level: black is transparent."""
    return np.full((32, 48, 3), 255, np.uint8)


def grey_with_level() -> Image.Image:
    """The base's green as a grey image whose black is transparent."""
    image = Image.fromarray(grey())
    image.info["transparency"] = 0
    return image


def brighter_on_white(transparent: np.ndarray) -> np.ndarray:
    pixels = brighter()
    pixels[transparent] = 255
    return pixels


def wide_grey() -> Image.Image:
    return Image.fromarray(grey().astype(np.uint16) * 257)


def brighter() -> np.ndarray:
    """Grey levels that are amounts of light, by sRGB's formula."""
    light = grey() / 255
    curve = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return as_rgb((curve * 255).round().astype(np.uint8))


def cmyk() -> Image.Image:
    return image().convert("CMYK")


def stretched(path: Path) -> None:
    Image.fromarray(wide(20000, 700)).save(path, compress_level=1)


def link(target: str) -> Maker:
    """A link to a name in the same folder."""
    return lambda path: path.symlink_to(target)


def hidden_and_linked(path: Path) -> None:
    image().save(path.with_name(".target.png"))
    path.symlink_to(".target.png")


def folder(path: Path) -> None:
    path.mkdir()
    image().save(path / "inside.png")


def not_utf8(path: Path) -> None:
    """Beside ``path``, an image whose name is no text; where the file system allows that."""
    image().save(path.with_name(os.fsdecode(b"caf\xe9.png")), "PNG")
