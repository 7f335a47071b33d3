"""The dataset values that travel between nodes: frozen, made by a scan, changed only by making new ones."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from ...base.caption_reader import caption_tags
from ..config.captions import CaptionConfig
from ..files.digests import digest
from ..files.index import FileStamp
from ..sdxl.buckets import BucketConfig

Interpolation = Literal["lanczos", "nearest", "bilinear", "bicubic", "area", "box"]
"""kohya's names of ways to resize an image."""


class TagScore(Protocol):
    """One tag that a tagger proposed, its category (general, character, rating, ...) and probability 0..1."""

    @property
    def name(self) -> str: ...
    @property
    def category(self) -> str: ...
    @property
    def probability(self) -> float: ...


class Problem(NamedTuple):
    """A file or folder that was left out, and why, in words for the user."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Sample:
    """One image with its caption.

    ``path`` is absolute; ``size`` is (width, height) in pixels after EXIF rotation; ``digest`` names
    the bytes of the image file; ``caption_path`` is where the caption is, or would be, on disk;
    ``weight`` multiplies the loss of this image; ``all_lines``: the caption is all lines of its
    file, not the first one only.
    """

    path: Path
    size: tuple[int, int]
    stamp: FileStamp
    digest: str
    caption: str
    caption_path: Path
    tags: tuple[TagScore, ...] = ()
    mask: Path | None = None
    weight: float = 1.0
    mask_digest: str | None = None
    all_lines: bool = False


@dataclass(frozen=True)
class Subset:
    """The images of one folder with kohya's subset options; ``is_reg`` marks regularisation images.

    ``captions``, ``flip``, ``interpolation`` and ``buckets`` are None where the whole training's setting holds.
    Each of ``optional_tags`` is left out of a caption with chance ``optional_rate`` at every use.
    ``preserves``: the model shall go on answering for these images as it did (see trainer/training/preservation.py).
    A batch has ``batch_size`` of these images, 0 for what the training says, and the adapters act at ``strength``
    on them; images for which either is another never share a batch.
    """

    name: str
    root: Path
    class_tokens: str
    repeats: int
    is_reg: bool
    samples: tuple[Sample, ...]
    captions: CaptionConfig | None = None
    flip: bool | None = None
    interpolation: Interpolation | None = None
    optional_tags: tuple[str, ...] = ()
    optional_rate: float = 0.5
    buckets: BucketConfig | None = None
    preserves: bool = False
    batch_size: int = 0
    strength: float = 1.0


CaptionSource = Mapping[Path, str] | Callable[[Sample], str]


@dataclass(frozen=True)
class Dataset:
    """Everything that training will see, and what was left out. ``trigger`` is the trigger word, or empty.

    ``notes`` say what else lies in the folders and is not used, a line each.
    """

    subsets: tuple[Subset, ...]
    problems: tuple[Problem, ...] = ()
    trigger: str = ""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Short: ComfyUI writes the inputs of a node that failed into what it sends to the browser."""
        trigger = f", trigger word {self.trigger!r}" if self.trigger else ""
        return f"<dataset: {self.image_count} images in {len(self.subsets)} folders{trigger}>"

    def samples(self) -> Iterator[tuple[Subset, Sample]]:
        """Every image with its subset, in the dataset's order."""
        for subset in self.subsets:
            for sample in subset.samples:
                yield subset, sample

    @property
    def image_count(self) -> int:
        """Number of images, repeats not counted, regularisation images included."""
        return sum(len(subset.samples) for subset in self.subsets)

    def replace_samples(self, change: Callable[[Sample], Sample | None]) -> "Dataset":
        """A new dataset with ``change(sample)`` for each sample; None leaves it out, emptied subsets go too."""
        subsets = []
        for subset in self.subsets:
            kept = tuple(new for old in subset.samples if (new := change(old)) is not None)
            if kept:
                subsets.append(replace(subset, samples=kept))
        return replace(self, subsets=tuple(subsets))

    def with_captions(self, captions: CaptionSource) -> "Dataset":
        """A new dataset with captions from a mapping by image path (others unchanged) or from a function."""
        if isinstance(captions, Mapping):
            table: Mapping[Path, str] = captions
            return self.replace_samples(
                lambda sample: replace(sample, caption=table.get(sample.path, sample.caption))
            )
        return self.replace_samples(lambda sample: replace(sample, caption=captions(sample)))

    def without(self, paths: Collection[Path]) -> "Dataset":
        """A new dataset without the images at ``paths``."""
        gone = frozenset(paths)
        return self.replace_samples(lambda sample: None if sample.path in gone else sample)

    def fingerprint(self) -> str:
        """A digest of contents: images, captions, masks, weights, repeats, order; no paths and no times."""
        return digest(
            [
                [
                    int(subset.repeats),
                    bool(subset.is_reg),
                    [
                        [s.digest, s.caption, float(s.weight) + 0.0, s.mask_digest]
                        for s in subset.samples
                    ],
                ]
                for subset in self.subsets
            ]
        )

    def tag_frequency(self) -> dict[str, dict[str, int]]:
        """Occurrences per folder and tag, as kohya writes to ``ss_tag_frequency`` (repeats not counted).

        Tags are seen through notation, of which kohya counts the letters.
        """
        table: dict[str, Counter[str]] = {}
        for subset, sample in self.samples():
            tags = (tag.lower() for tag in caption_tags(sample.caption))
            table.setdefault(subset.name, Counter()).update(tags)
        return {name: dict(counts) for name, counts in table.items()}

    def report(self, masked: bool | None = None) -> str:
        """A few lines for the user: folders with counts, empty captions, and what was left out.

        ``masked``: whether masked loss is on, None where that is not known yet.
        """
        lines = [f"{self.image_count} images in {len(self.subsets)} folder(s)"]
        for subset in self.subsets:
            kind = " (regularisation)" if subset.is_reg else ""
            lines.append(f"  {subset.name}{kind}: {len(subset.samples)} x {subset.repeats}")
        empty = sum(not sample.caption for _, sample in self.samples())
        if empty:
            lines.append(f"{empty} picture(s) without a caption")
        masks = sum(sample.mask is not None for _, sample in self.samples())
        if masks:
            use = {True: "", False: ", not used: masked_loss is off", None: ", for masked loss"}
            lines.append(f"{masks} picture(s) with a mask{use[masked]}")
        if self.problems:
            lines.append(f"{len(self.problems)} left out:")
            lines += [f"  {problem.path.name}: {problem.reason}" for problem in self.problems]
        lines += self.notes
        return "\n".join(lines)
