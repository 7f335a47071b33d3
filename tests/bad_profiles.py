"""Colour profiles that change colours beyond doubt: red and blue exchanged, and inks of other colours."""

import struct

from PIL import ImageCms

D50 = (0.9642, 1.0, 0.8249)
INKS = {  # what each ink looks like: CIE Lab under D50, and the same in sRGB
    (0, 0, 0, 0): ((100.0, 0.0, 0.0), (255, 255, 255)),
    (1, 0, 0, 0): ((54.29, 80.81, 69.89), (255, 0, 0)),
    (0, 1, 0, 0): ((87.82, -79.27, 80.99), (0, 255, 0)),
    (0, 0, 1, 0): ((29.57, 68.30, -112.03), (0, 0, 255)),
}
BLACK = (0.0, 0.0, 0.0)
TEXT = b"text" + bytes(4) + b"test\0"
NAME = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
WHITE = b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65536) for v in D50))


def swapped() -> bytes:
    """sRGB's profile with the primaries of red and blue exchanged, and another name."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    data[data.index(b"rXYZ")] = ord("b")
    data[data.rindex(b"bXYZ")] = ord("r")
    return bytes(data).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


def inks() -> bytes:
    """A CMYK profile under which cyan ink is red, magenta green, yellow blue; all else is black."""
    corners = [
        INKS.get(((n >> 3) & 1, (n >> 2) & 1, (n >> 1) & 1, n & 1), (BLACK, None))[0]
        for n in range(16)
    ]
    table = bytes(
        level
        for light, a, b in corners
        for level in (round(light * 2.55), round(a) + 128, round(b) + 128)
    )
    ramp = bytes(range(256))
    identity = struct.pack(">9i", *(65536 * (n % 4 == 0) for n in range(9)))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + ramp * 4 + table + ramp * 3
    return _profile({b"desc": NAME, b"cprt": TEXT, b"wtpt": WHITE, b"A2B0": lut}, b"CMYK", b"Lab ")


def linear_grey() -> bytes:
    """A grey profile whose levels are amounts of light."""
    curve = b"curv" + bytes(8)
    return _profile(
        {b"desc": NAME, b"cprt": TEXT, b"wtpt": WHITE, b"kTRC": curve}, b"GRAY", b"XYZ "
    )


def linear_colours() -> bytes:
    """A profile of sRGB's colours whose levels are amounts of light."""
    primaries = {
        b"rXYZ": (0.4360, 0.2225, 0.0139),
        b"gXYZ": (0.3851, 0.7169, 0.0971),
        b"bXYZ": (0.1431, 0.0606, 0.7141),
    }
    tags = {
        name: b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65536) for v in values))
        for name, values in primaries.items()
    }
    curves = {name: b"curv" + bytes(8) for name in (b"rTRC", b"gTRC", b"bTRC")}
    named = {b"desc": NAME, b"cprt": TEXT, b"wtpt": WHITE}
    return _profile({**named, **tags, **curves}, b"RGB ", b"XYZ ")


def of_class(kind: bytes) -> bytes:
    """The profile with red and blue exchanged, of another device class."""
    data = swapped()
    return data[:12] + kind + data[16:]


def _profile(tags: dict[bytes, bytes], colours: bytes, space: bytes) -> bytes:
    place = 128 + 4 + 12 * len(tags)
    rows, body = b"", b""
    for name, data in tags.items():
        rows += name + struct.pack(">II", place + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(
        ">I4s4s4s4s4s", place + len(body), b"", b"\x02\x40\0\0", b"prtr", colours, space
    )
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">3i", *(round(v * 65536) for v in D50))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + rows + body
