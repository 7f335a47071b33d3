"""Image files as the world has them, and what must become of each."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

from pack.tests import bad_files as make
from pack.tests import bad_profiles
from pack.tests.bad_files import as_rgb, base, frames, image, saved, turned


class Picture(NamedTuple):
    """A file: what it is, its name, and how it is made.

    An image that is used has ``pixels``, and ``shown`` says in words what they are; one that is
    listed has the ``reason``. ``near`` is how far a lossy format may be off.
    """

    what: str
    name: str
    make: make.Maker
    shown: str = ""
    pixels: Callable[[], np.ndarray] | None = None
    near: int = 0
    reason: str = ""


def listed(what: str, name: str, maker: make.Maker, reason: str) -> Picture:
    return Picture(what, name, maker, reason=reason)


KIND = "image, whatever its name says"
FRAME = "save the frame that you want as"
CUT = "it is damaged: image file is truncated"

USED = (
    Picture("a PNG named .jpg", "png named.jpg", saved(image, "PNG"), "its pixels", base),
    Picture("a JPEG named .png", "jpeg named.png", saved(image, "JPEG"), "its pixels", base, 3),
    Picture("a JPEG named .jfif", "kind.jfif", saved(image, "JPEG"), "its pixels", base, 3),
    Picture("an AVIF", "real.avif", saved(image, "AVIF", quality=100, subsampling="4:4:4"), "its pixels", base, 6),
    Picture("a phone's JPEG with two images (MPO)", "mpo.jpg", frames("MPO"), "the first one", base, 3),
    Picture("a CMYK JPEG, inverted as Adobe does", "cmyk.jpg", saved(make.cmyk, "JPEG"), "its colours by plain arithmetic", base, 3),
    Picture("a CMYK JPEG without Adobe's mark", "cmyk unmarked.jpg", make.no_adobe_marker, "the same", base, 3),
    Picture("a CMYK JPEG with a profile", "cmyk profile.jpg", saved(make.inks, "JPEG", icc_profile=bad_profiles.inks()), "the profile's colours in sRGB", make.ink_colours, 10),
    Picture("a PNG with another colour profile", "profile.png", saved(image, "PNG", icc_profile=bad_profiles.swapped()), "its colours in sRGB", lambda: base()[:, :, ::-1], 2),
    Picture("a PNG with a damaged colour profile", "profile damaged.png", saved(image, "PNG", icc_profile=b"no profile"), "its pixels, the profile ignored", base),
    Picture("a grey PNG of 16 bits", "grey 16.png", make.sixteen_bit(make.grey()), "8 bits of each level", lambda: as_rgb(make.grey())),
    Picture("the same with a profile", "grey 16 profile.png", saved(make.wide_grey, "PNG", icc_profile=bad_profiles.linear_grey()), "its light in sRGB", make.brighter, 2),
    Picture("an RGB PNG of 16 bits", "rgb 16.png", make.sixteen_bit(base()), "8 bits of each level", base),
    Picture("an RGBA PNG of 16 bits", "rgba 16.png", make.sixteen_bit(np.asarray(make.see_through())), "on white", make.on_white),
    Picture("a PNG with transparency", "rgba.png", saved(make.see_through, "PNG"), "on white", make.on_white),
    Picture("a palette PNG with a transparent colour", "palette.png", saved(lambda: make.see_through().quantize(8), "PNG"), "on white", make.on_white),
    Picture("a grey PNG with transparency", "grey alpha.png", saved(make.grey_see_through, "PNG"), "on white", make.grey_on_white),
    Picture("a grey PNG of 1 bit, a level of it transparent", "level 1.png", make.levels_see_through(1), "on white", make.one_bit_on_white),
    Picture("a grey PNG of 2 bits, a level of it transparent", "level 2.png", make.levels_see_through(2), "on white", make.levels_on_white),
    Picture("a grey PNG of 4 bits, a level of it transparent", "level 4.png", make.levels_see_through(4), "on white", make.levels_on_white),
    Picture("a grey PNG of 8 bits, a level of it transparent", "level 8.png", make.levels_see_through(8), "on white", make.levels_on_white),
    Picture("a grey PNG of 16 bits, a level of it transparent", "level 16.png", make.levels_see_through(16), "on white", make.levels_on_white),
    Picture("an RGB PNG of 8 bits, a colour of it transparent", "colour 8.png", make.levels_see_through(8, 3), "on white", make.levels_on_white),
    Picture("an RGB PNG of 16 bits, a colour of it transparent", "colour 16.png", make.levels_see_through(16, 3), "on white", make.levels_on_white),
    Picture("a grey PNG with transparency and a profile", "grey alpha profile.png", saved(make.grey_see_through, "PNG", icc_profile=bad_profiles.linear_grey()), "its light in sRGB, on white", lambda: make.brighter_on_white(np.asarray(make.see_through())[..., 3] == 0), 2),
    Picture("a grey PNG with a transparent level and a profile", "grey level profile.png", saved(make.grey_with_level, "PNG", icc_profile=bad_profiles.linear_grey()), "the same", lambda: make.brighter_on_white(make.grey() == 0), 2),
    Picture("an RGB PNG with a grey profile", "profile grey.png", saved(image, "PNG", icc_profile=bad_profiles.linear_grey()), "its pixels, the profile ignored", base),
    Picture("an RGB PNG with a profile for inks", "profile inks.png", saved(image, "PNG", icc_profile=bad_profiles.inks()), "the same", base),
    Picture("a PNG with a profile of no device", "profile abstract.png", saved(image, "PNG", icc_profile=bad_profiles.of_class(b"abst")), "the same", base),
    Picture("a PNG with a profile that links two others", "profile link.png", saved(image, "PNG", icc_profile=bad_profiles.of_class(b"link")), "the same", base),
    Picture("a grey PNG with a profile for colours", "grey rgb profile.png", saved(lambda: Image.fromarray(make.grey()), "PNG", icc_profile=bad_profiles.linear_colours()), "its light in sRGB", make.brighter, 2),
    Picture("a black and white PNG of 1 bit", "one bit.png", saved(lambda: Image.fromarray(make.black_and_white()).convert("1"), "PNG"), "its pixels", lambda: as_rgb(make.black_and_white())),
    Picture("a JPEG rotated by EXIF", "turned 6.jpg", turned(6, "JPEG"), "upright", base, 3),
    Picture("a PNG rotated by EXIF", "turned 3.png", turned(3, "PNG"), "upright", base),
    Picture("a WebP rotated and flipped by EXIF", "turned 5.webp", turned(5, "WEBP"), "upright", base),
    Picture("20,000 pixels wide, 700 high", "wide.png", make.stretched, "its pixels", lambda: make.wide(20000, 700)),
    Picture("a name with emoji and spaces", "two  cats 😀 é.png", saved(image, "PNG"), "its pixels", base),
    Picture("a name of 200 characters", "x" * 196 + ".png", saved(image, "PNG"), "its pixels", base),
    Picture("a link to an image", "link.png", make.hidden_and_linked, "the image it leads to", base),
)  # fmt: skip

LISTED = (
    listed("a JPEG that is cut off", "cut.jpg", make.cut("JPEG", 0.6), CUT),
    listed("a PNG that is cut off", "cut.png", make.cut("PNG", 0.6), CUT),
    listed("a BMP that is cut off", "cut.bmp", make.cut("BMP", 0.6), CUT),
    listed("a WebP that is cut off", "cut.webp", make.cut("WEBP", 0.6), "it is damaged:"),
    listed("an AVIF that is cut off", "cut.avif", make.cut("AVIF", 0.6), KIND),
    listed("an AVIF with a damaged frame", "frame.avif", make.damaged_frame, "it is damaged:"),
    listed("an empty file", "empty.png", lambda path: path.write_bytes(b""), "the file is empty"),
    listed("a text named .png", "text.png", lambda path: path.write_text("hello"), KIND),
    listed("a GIF named .png", "gif named.png", saved(image, "GIF"), KIND),
    listed("a GIF", "film.gif", frames("GIF"), f"GIF files are not read; {FRAME} PNG or JPEG"),
    listed("a TIFF, HEIC, JPEG XL, PSD, SVG …", "scan.tif", saved(image, "TIFF"), "TIF files are not read; save it as PNG or JPEG"),
    listed("an animated WebP", "moving.webp", frames("WEBP"), f"it is an animation; {FRAME} an image"),
    listed("an animated PNG", "moving.png", frames("PNG"), f"it is an animation; {FRAME} an image"),
    listed("a PNG with damaged EXIF data", "exif.png", make.damaged_exif, "its EXIF data are damaged; save it again from an editor"),
    listed("20,000 pixels wide, 10 high", "sliver.png", saved(lambda: Image.new("RGB", (20000, 10)), "PNG"), "it is 20000 x 10 pixels, longer than 1:32; crop it"),
    listed("a decompression bomb", "bomb.png", make.bomb, "it has more pixels than is safe to decode; make a smaller copy"),
    listed("a grey PNG whose only level is transparent", "nothing grey.png", make.nothing_but_a_level, "it is wholly transparent"),
    listed("an image of nothing but transparency", "nothing.png", saved(lambda: Image.new("RGBA", (48, 32)), "PNG"), "it is wholly transparent"),
    listed("a link that leads nowhere", "nowhere.png", make.link("none.png"), "the file is gone"),
    listed("a link that leads to itself", "loop.png", make.link("loop.png"), "Too many levels of symbolic links"),
    listed("a folder named like an image", "folder.png", make.folder, "sub-folder not read; name it <repeats>_<name>, e.g. 1_dog, or switch recursive on"),
)  # fmt: skip
