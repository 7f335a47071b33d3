"""Colours as a viewer shows them: any mode, depth, profile and transparency to sRGB."""

import io
import logging

from PIL import Image, ImageCms

from ...base.rgb import on_white, plain_rgb, rounded, upright_8_bit

log = logging.getLogger(__name__)


def as_shown(image: Image.Image) -> Image.Image:
    """The image upright, in sRGB and on white, mode RGB. ``image`` itself is turned upright."""
    return on_white(upright_8_bit(image, rounded), _to_srgb)


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
    return plain_rgb(image)
