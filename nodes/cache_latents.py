"""Cache Latents: a dataset made ready for training, on disk and never stale."""

from __future__ import annotations

from typing import Any, get_args

from comfy_api.latest import io

from ..trainer.config.cache import AS_PROMPTS, CacheConfig, Chunks, TextConfig
from ..trainer.dataset.dataset import Dataset
from ..trainer.sdxl.buckets import BucketConfig, parse_resolutions
from .host.dataset.cache import build_cache
from .host.dataset.clear_cache import last_cleared
from .host.made import CACHED
from .host.model.host_types import Clip, Vae
from .schema import Node, field, node, output, setting
from .sockets import BucketSettingsSocket, CacheSocket, DatasetSocket


class CacheLatents(Node):
    """Sorts images into aspect buckets and encodes them once."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node(
            "CacheLatents",
            display_name="Cache Latents",
            description="Sorts the images into aspect buckets as kohya does, encodes them with "
            "the VAE (and the captions with CLIP) and keeps the results on disk by content: an "
            "edited image is encoded again, the others are not.",
            search_aliases=["aspect buckets", "encode dataset", "vae encode images"],
            inputs=[
                field(DatasetSocket, "dataset", "Images and captions to train on."),
                field(io.Vae, "vae", "The VAE of the SDXL checkpoint."),
                field(
                    io.Clip,
                    "clip",
                    "The CLIP of the checkpoint, to encode the captions here. Without it Train "
                    "needs CLIP.",
                    optional=True,
                ),
                field(
                    io.Int,
                    "resolution",
                    "Images are resized to buckets of about resolution x resolution pixels.",
                    default=BucketConfig().resolution[0],
                    min=64,
                    max=4096,
                    step=8,
                ),
                field(
                    io.Boolean,
                    "flip",
                    "Also use every image flipped, at random. Not for asymmetric characters.",
                    default=False,
                ),
                setting(
                    BucketConfig,
                    "enabled",
                    "Buckets of several shapes; off crops every image to a square.",
                    display_name="buckets",
                    advanced=True,
                ),
                setting(
                    BucketConfig,
                    "min_reso",
                    "Shortest side of a bucket in pixels.",
                    min=32,
                    max=4096,
                    step=8,
                    advanced=True,
                ),
                setting(
                    BucketConfig,
                    "max_reso",
                    "Longest side of a bucket in pixels.",
                    min=64,
                    max=8192,
                    step=8,
                    advanced=True,
                ),
                setting(
                    BucketConfig,
                    "step",
                    "Sides of buckets are multiples of this.",
                    min=8,
                    max=256,
                    step=8,
                    advanced=True,
                ),
                setting(
                    BucketConfig,
                    "no_upscale",
                    "Never enlarge an image; small ones get buckets of their own.",
                    advanced=True,
                ),
                field(
                    io.Boolean,
                    "kohya_preprocessing",
                    "Decode and condition exactly as kohya's scripts do: transparency dropped, EXIF "
                    "rotation ignored, crop numbers from its formula.",
                    default=False,
                    advanced=True,
                ),
                field(
                    io.Int,
                    "vae_batch_size",
                    "Images encoded at a time; only speed and memory depend on it. 0: about four "
                    "megapixels at a time.",
                    default=1,
                    min=0,
                    max=64,
                    advanced=True,
                ),
                field(
                    io.String,
                    "more_resolutions",
                    "Every image once more at each of these resolutions, separated by commas "
                    "(768, 512). The shortest and longest side of buckets scale along.",
                    default="",
                    advanced=True,
                ),
                field(
                    io.Combo,
                    "caption_chunks",
                    "How captions too long for one chunk are cut: as ComfyUI cuts prompts, or as "
                    "kohya does with max_token_length 75, 150 or 225.",
                    options=list(get_args(Chunks)),
                    default=AS_PROMPTS.chunks,
                    advanced=True,
                ),
                field(
                    io.Boolean,
                    "weighted_captions",
                    "Read (word:1.2) in captions as a weight, as in prompts. Off: brackets are letters.",
                    default=AS_PROMPTS.weighted,
                    advanced=True,
                ),
                field(
                    io.Float,
                    "cache_limit_gb",
                    "The cache on disk is kept below this by removing what was used longest ago, "
                    "never what this dataset needs. 0: no limit.",
                    default=50.0,
                    min=0.0,
                    max=100000.0,
                    step=1.0,
                    advanced=True,
                ),
                field(
                    BucketSettingsSocket,
                    "bucket_settings",
                    "From Import kohya Config: overrides the widgets here, except cache_limit_gb.",
                    optional=True,
                ),
                setting(
                    CacheConfig,
                    "fresh_samples",
                    "Keep the VAE's deviation with each latent: training then takes a fresh sample "
                    "whenever an image is shown, instead of the mean. Encoding takes twice as long.",
                    advanced=True,
                ),
            ],
            outputs=[
                output(CacheSocket, "cache", "The cached dataset, for Train."),
                output(io.String, "report", "How many images fell into which bucket."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> str:
        return f"{last_cleared()} {CACHED.losses()}"

    @classmethod
    def execute(
        cls,
        dataset: Dataset,
        vae: Vae,
        resolution: int,
        flip: bool,
        kohya_preprocessing: bool,
        vae_batch_size: int,
        more_resolutions: str,
        caption_chunks: Chunks,
        weighted_captions: bool,
        cache_limit_gb: float,
        fresh_samples: bool = False,
        clip: Clip | None = None,
        bucket_settings: CacheConfig | None = None,
        **buckets: Any,
    ) -> io.NodeOutput:
        config = bucket_settings or CacheConfig(
            BucketConfig(resolution=(resolution, resolution), **buckets), flip,
            kohya_preprocessing, vae_batch_size, parse_resolutions(more_resolutions),
            TextConfig(caption_chunks, weighted_captions), fresh_samples,
        )  # fmt: skip
        node_id = cls.hidden.unique_id
        cached, report = build_cache(dataset, vae, clip, config, node_id, cache_limit_gb)
        return io.NodeOutput(cached, report, ui={"text": [report]})
