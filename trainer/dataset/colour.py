"""Colours as a viewer shows them: any mode, depth, profile and transparency to sRGB."""

import io
import logging

import numpy as np
from PIL import Image, ImageCms, ImageOps

log = logging.getLogger(__name__)


def as_shown(image: Image.Image) -> Image.Image:
    """The picture upright, in sRGB and on white, mode RGB. ``image`` itself is turned upright."""
    ImageOps.exif_transpose(image, in_place=True)
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
    grey = Image.fromarray((levels / top * 255.0 + 0.5).clip(0, 255).astype(np.uint8))
    grey.info["icc_profile"] = image.info.get("icc_profile")
    return grey


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
    return image if image.mode == "RGB" else image.convert("RGB")
