"""A stand-in VAE and a folder of images for tests of the latent cache."""

import numpy as np
import torch
from PIL import Image

from pack.trainer.cache.latents import LatentConfig
from pack.trainer.sdxl.buckets import BucketConfig

BUCKETS = BucketConfig((64, 64), min_reso=32, max_reso=128, step=32)
RECIPE = LatentConfig(BUCKETS, "vae")


class Encoder:
    """A VAE that averages 8x8 pixels, and remembers the shapes that it was given."""

    def __init__(self, spoil=None):
        self.shapes = []
        self.spoil = spoil

    def __call__(self, pixels):
        self.shapes.append(pixels.shape)
        assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous
        shown = torch.from_numpy(pixels).movedim(-1, 1) / 255
        means = torch.nn.functional.avg_pool2d(shown, 8)
        latents = torch.cat([means, means[:, :1]], 1)
        return latents if self.spoil is None else self.spoil(latents)

    @property
    def pictures(self):
        return sum(shape[0] for shape in self.shapes)


def write_pictures(root):
    """Five images of five shapes with captions."""
    root.mkdir()
    rng = np.random.default_rng(0)
    for name, size in [
        ("a", (70, 64)),
        ("b", (64, 64)),
        ("c", (128, 40)),
        ("d", (90, 90)),
        ("e", (40, 128)),
    ]:
        pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{name}.png")
        (root / f"{name}.txt").write_text(name)
    return root
