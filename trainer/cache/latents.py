"""Latents on disk: which image becomes which latent file, making those that are missing, and naming the whole."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from random import Random

from ...base.config import Config
from ...base.gc_pause import collection_paused
from ..config.cache import AS_PROMPTS, TextConfig
from ..config.captions import CaptionConfig
from ..dataset.caption_rules import Draws, shown_caption, without_tags
from ..dataset.dataset import Dataset, Interpolation, Sample, Subset
from ..dataset.unchanged import check_unchanged
from ..files.digests import digest
from ..files.store import Store
from ..sdxl.buckets import BucketConfig, Placement, Size, SizeConditioning, conditioning
from .decoding import Job, decoded, grouped
from .encoding import KIND, Encode, LatentWriter, tiled
from .placing import placed

RECIPE = 1
"""Raised when the way from image to latent changes, so that older latents are not used."""

_UNUSED = Random(0)
"""For texts in which nothing is drawn."""

OnImage = Callable[[int, int, str], None]
"""Told (images encoded, images to encode, image's name) after each."""


@dataclass(frozen=True)
class LatentConfig(Config):
    """Everything besides the image itself that its latent depends on, and the crop conditioning."""

    title = "Latent settings"

    buckets: BucketConfig
    """Images are grouped by shape in this way, unless their subset has buckets of its own."""
    vae_fingerprint: str
    """The VAE that makes the latents has this fingerprint."""
    flip: bool = False
    """Every image is encoded flipped left to right as well, unless its subset says otherwise."""
    kohya: bool = False
    """Images are decoded and their crop conditioning is made as sd-scripts do it, bugs included."""
    interpolation: Interpolation | None = None
    """Images are resized in this way, unless their subset says otherwise; None takes what suits each."""
    more_buckets: tuple[BucketConfig, ...] = ()
    """Every image comes once more for each of these, at another resolution."""
    deviations: bool = False
    """The VAE's deviations are stored with the latents, for fresh samples in training."""


@dataclass(frozen=True)
class CachedItem:
    """One image ready for training. ``bucket`` is (width, height); ``flipped_key`` is None without flips.

    ``in_tiles``: there was not the memory to encode it as a whole, and its keys say so.
    ``options`` and all that follows but ``in_tiles`` are its subset's.
    """

    digest: str
    name: str
    caption: str
    bucket: Size
    conditioning: SizeConditioning
    flipped_conditioning: SizeConditioning
    latent_key: str
    flipped_key: str | None
    repeats: int
    weight: float
    is_reg: bool
    subset: str
    mask_digest: str | None = None
    options: CaptionConfig | None = None
    optional_tags: tuple[str, ...] = ()
    optional_rate: float = 0.0
    preserves: bool = False
    batch_size: int = 0
    strength: float = 1.0
    in_tiles: bool = False

    def sample_text(
        self,
        default: CaptionConfig,
        draws: Draws,
        epoch: int,
        step: int,
        steps: int,
        shares: Mapping[str, float] | None = None,
    ) -> str:
        """The text of one sample under the item's own options, else ``default``; counted as in kohya."""
        text = without_tags(self.caption, self.optional_tags, self.optional_rate, draws)
        options = self.options or default
        return shown_caption(
            text, options, draws, epoch=epoch, step=step, steps=steps, shares=shares
        )

    def texts(self, default: CaptionConfig) -> tuple[str, ...]:
        """All texts that uses may show where these can be listed: one, or one for each line that may be picked."""
        options = self.options or default
        if not options.is_plain or self.optional_tags:
            return ()
        lines = self.caption.split("\n") if options.pick_line else [self.caption]
        shown = (shown_caption(line, options, _UNUSED, epoch=1, steps=1) for line in lines)
        return tuple(dict.fromkeys(shown))

    def plain_text(self, default: CaptionConfig) -> str | None:
        """The one text of all uses, or None when they differ."""
        texts = self.texts(default)
        return texts[0] if len(texts) == 1 else None


@dataclass(frozen=True)
class CachedDataset:
    """All images of a dataset with their latents on disk; holds no tensors."""

    items: tuple[CachedItem, ...]
    store_root: Path
    recipe: LatentConfig
    dataset: Dataset
    text_fingerprint: str | None = None
    texts: TextConfig = AS_PROMPTS
    _identity: str = field(init=False, repr=False, compare=False)

    @collection_paused()
    def __post_init__(self) -> None:
        rows = [
            [
                [item.digest, item.latent_key, item.flipped_key, item.mask_digest],
                [item.bucket, item.conditioning, item.flipped_conditioning],
                [
                    item.caption,
                    int(item.repeats),
                    float(item.weight) + 0.0,
                    bool(item.is_reg),
                    bool(item.preserves),
                ],
                [
                    item.options and [*item.options.identity().values()],
                    item.optional_tags,
                    float(item.optional_rate) + 0.0,
                ],
                *_own_batches(item),
            ]
            for item in self.items
        ]
        name = digest(
            RECIPE, self.recipe.vae_fingerprint, self.recipe.flip, self.text_fingerprint, rows
        )
        object.__setattr__(self, "_identity", name)

    def __str__(self) -> str:
        """Short: ComfyUI writes the inputs of a node that failed into what it sends to the browser."""
        return f"<cache: {len(self.items)} images in {self.store_root}>"

    @property
    def needs_horizon(self) -> bool:
        """Whether a subset's own caption options depend on the number of training steps."""
        return any(item.options is not None and item.options.needs_horizon for item in self.items)

    def identity(self) -> str:
        """A digest of whatever can change training numbers; no paths, names or times."""
        return self._identity


def _own_batches(item: CachedItem) -> list[list[float]]:
    """What identities of older runs do not have: nothing for an item without batches of its own."""
    own = [int(item.batch_size), float(item.strength)]
    return [own] if own != [0, 1.0] else []


def cache_latents(
    dataset: Dataset,
    recipe: LatentConfig,
    encode: Encode,
    store: Store,
    *,
    batch_size: int = 1,
    on_image: OnImage | None = None,
) -> CachedDataset:
    """Make the latents that are missing from ``store`` and describe all of them; what is there is not made again.

    Images of one bucket are encoded ``batch_size`` at a time (0: see ``batch_of``).

    Raises:
        ValueError: the dataset is empty; an image changed or vanished since the dataset was read,
            cannot be decoded, does not fit the buckets, or gave a latent with NaN or infinity.
    """
    if not dataset.image_count:
        raise ValueError("The dataset has no images to cache; load a folder that has some.")
    check_unchanged(dataset)
    items, jobs = plan_latents(dataset, recipe, store)

    def on_saved(job: Job) -> None:
        if on_image is not None:
            on_image(writer.saved, len(jobs), job.sample.path.name)

    with (
        LatentWriter(encode, store, batch_size, on_saved, recipe.deviations) as writer,
        closing(decoded(grouped(jobs), recipe.kohya, batch_size)) as pictures,
    ):
        for _, alike in groupby(pictures, key=lambda picture: picture[0].placement.bucket):
            for job, pixels in alike:
                writer.add(job, pixels)
            writer.flush()
    if writer.made_tiles:
        items = tuple(as_stored(item, store)[0] for item in items)
    return CachedDataset(items, store.root, recipe, dataset)


@collection_paused()
def plan_latents(
    dataset: Dataset, recipe: LatentConfig, store: Store
) -> tuple[tuple[CachedItem, ...], list[Job]]:
    """Every image's item, and one job per distinct image without a latent."""
    items, jobs = [], []
    seen: set[str] = set()
    for subset, sample, size, placement in placed(
        dataset, recipe.buckets, recipe.more_buckets, recipe.kohya
    ):
        item, missing = as_stored(cached_item(subset, sample, placement, size, recipe), store)
        items.append(item)
        if any(missing) and item.latent_key not in seen:
            seen.add(item.latent_key)
            plain, flipped = missing
            jobs.append(Job(sample, placement, plain, flipped, interpolation(subset, recipe)))
    return tuple(items), jobs


def as_stored(item: CachedItem, store: Store) -> tuple[CachedItem, list[str | None]]:
    """The item with the keys of latents in tiles where only these are there, and the keys that are missing.

    The missing ones are of the image and of its flipped copy; None where nothing is missing.
    """
    keys: list[str | None] = [item.latent_key, item.flipped_key]
    missing: list[str | None] = [None, None]
    for place, key in enumerate(keys):
        if key is None or store.has(KIND, key):
            continue
        if store.has(KIND, tiled(key)):
            keys[place] = tiled(key)
        else:
            missing[place] = key
    plain, flipped = keys
    if plain is None or (plain, flipped) == (item.latent_key, item.flipped_key):
        return item, missing
    return replace(item, latent_key=plain, flipped_key=flipped, in_tiles=True), missing


def cached_item(
    subset: Subset, sample: Sample, placement: Placement, size: Size, recipe: LatentConfig
) -> CachedItem:
    """An image in its place, and the keys of what is made of it."""

    def key(flipped: bool) -> str:
        return digest(
            RECIPE, sample.digest, placement[:3], flipped, recipe.vae_fingerprint,
            interpolation(subset, recipe), recipe.kohya,
            *(["deviations"] if recipe.deviations else ()),
        )  # fmt: skip

    flips = recipe.flip if subset.flip is None else subset.flip

    return CachedItem(
        digest=sample.digest,
        name=f"{subset.name}/{sample.path.name}",
        caption=sample.caption,
        bucket=placement.bucket,
        conditioning=conditioning(placement, size, False, recipe.kohya),
        flipped_conditioning=conditioning(placement, size, True, recipe.kohya),
        latent_key=key(False),
        flipped_key=key(True) if flips else None,
        repeats=subset.repeats,
        weight=sample.weight,
        is_reg=subset.is_reg,
        subset=subset.name,
        mask_digest=sample.mask_digest,
        options=subset.captions,
        optional_tags=subset.optional_tags,
        optional_rate=subset.optional_rate if subset.optional_tags else 0.0,
        preserves=subset.preserves,
        batch_size=subset.batch_size,
        strength=subset.strength,
    )


def interpolation(subset: Subset, recipe: LatentConfig) -> Interpolation | None:
    """How a subset's images are resized; None: as suits each."""
    return subset.interpolation or recipe.interpolation
