"""Colours as a viewer shows them: any mode, depth, profile and transparency to sRGB."""

import io
import logging
from typing import Any, cast

from PIL import Image, ImageCms

from ...base.rgb import on_white, plain_rgb, rounded, upright_8_bit

log = logging.getLogger(__name__)

_SPACES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}
_DEVICES = {"scnr", "mntr", "prtr", "spac"}  # the others describe a way between profiles


def as_shown(image: Image.Image) -> Image.Image:
    """The image upright, in sRGB and on white, mode RGB. ``image`` itself is turned upright."""
    return on_white(upright_8_bit(image, rounded), _to_srgb)


def _to_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if image.mode not in {"L", "RGB", "CMYK"}:
        image = image.convert("L" if image.mode in {"1", "LA"} else "RGB")
    if profile:
        try:
            image = _converted(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
        except (ImageCms.PyCMSError, OSError, ValueError) as error:
            log.info("A colour profile is not used: %s", error)
    return plain_rgb(image)


def _converted(image: Image.Image, source: ImageCms.ImageCmsProfile) -> Image.Image:
    """In sRGB by its profile; as it is where that is of another colour space, or no device's."""
    facts = cast(Any, source.profile)  # its type is that of the argument in Pillow's hints
    wanted = _SPACES.get(facts.xcolor_space.strip())
    if wanted is None or facts.device_class not in _DEVICES:
        raise ImageCms.PyCMSError(f"it is for {facts.xcolor_space} {facts.device_class}")
    if wanted == "RGB" and image.mode == "L":
        image = image.convert("RGB")  # an editor's working space, kept for a grey image
    if wanted != image.mode:
        raise ImageCms.PyCMSError(f"it is for {wanted}, the image is {image.mode}")
    if "srgb" in ImageCms.getProfileDescription(source).lower():
        return image
    target = ImageCms.createProfile("sRGB")
    return ImageCms.profileToProfile(image, source, target, outputMode="RGB") or image
