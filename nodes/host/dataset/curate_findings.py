"""What Curate Dataset finds in single images, and all findings as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ....base.shortened import in_lines
from ....tagger import CurateConfig
from ....trainer.dataset.dataset import Dataset, Sample, Subset
from ....trainer.sdxl.buckets import BucketConfig, assign
from .quality import Measured

SHOWN = 200
"""Findings of one check that the report lists."""

UNREADABLE = "unreadable"
"""The check that has no option: such images are always left out."""

CHECKS = {
    "exact_duplicates": "exact duplicates",
    "near_duplicates": "near duplicates",
    "blurred": "blurred",
    "too_small": "too small",
    "extreme_aspect": "extreme aspect",
    "borders": "borders",
}
"""Each check's name in the report, by its option."""


class Entry(NamedTuple):
    """An image that can be read, with its folder and measures."""

    subset: Subset
    sample: Sample
    measured: Measured

    @property
    def name(self) -> str:
        """Folder and file, for the report."""
        return f"{self.subset.name}/{self.sample.path.name}"


class Finding(NamedTuple):
    """What one check says of one image: a few words for the sheet, a sentence for the report."""

    check: str
    name: str
    label: str
    sentence: str
    excludes: bool


def single_findings(
    entry: Entry, options: CurateConfig, buckets: BucketConfig
) -> Iterator[Finding]:
    """What the checks that need no other image say of one; those switched off say nothing."""
    for check, label, sentence in _objections(entry, options, buckets):
        mode = getattr(options, check)
        if mode != "off":
            yield Finding(check, entry.name, label, sentence, mode == "exclude")


def _objections(
    entry: Entry, options: CurateConfig, buckets: BucketConfig
) -> Iterator[tuple[str, str, str]]:
    """Check, label and sentence of everything that is above its threshold."""
    (width, height), quality = entry.sample.size, entry.measured.quality
    if quality.blur > options.blur_threshold:
        yield (
            "blurred",
            f"blur {quality.blur:.2f} px",
            f"blur radius {quality.blur:.2f} px where it is sharpest (threshold "
            f"{options.blur_threshold:g}); find a sharper copy, or leave it out",
        )
    placement = assign(entry.sample.size, buckets)
    factor, lost = placement.enlargement(entry.sample.size), placement.cropped_share()
    bucket = "{} x {}".format(*placement.bucket)
    if factor > options.upscale_threshold:
        yield (
            "too_small",
            f"enlarged {factor:.2f} times",
            f"{width} x {height} is enlarged {factor:.2f} times to fill {bucket} (threshold "
            f"{options.upscale_threshold:g}); find a larger copy, or leave it out",
        )
    if lost > options.crop_threshold:
        yield (
            "extreme_aspect",
            f"crop takes {lost:.0%}",
            f"{width} x {height} loses {lost:.1%} to the crop to {bucket} (threshold "
            f"{options.crop_threshold:.0%}); crop it yourself to what matters",
        )
    bars, share = quality.bars, quality.bars.share(width, height)
    if share > options.border_threshold:
        inner = (width - bars.left - bars.right, height - bars.top - bars.bottom)
        yield (
            "borders",
            f"bars take {share:.0%}",
            f"bars take {share:.1%} (threshold {options.border_threshold:.0%}); crop to "
            f"{inner[0]} x {inner[1]} at left {bars.left}, top {bars.top}",
        )


def report(
    dataset: Dataset,
    kept: Dataset,
    findings: Sequence[Finding],
    options: CurateConfig,
    diversity: str,
) -> str:
    """Totals, diversity, every finding by check, and the files that were left out before."""
    left_out = dataset.image_count - kept.image_count
    lines = [f"{kept.image_count} of {dataset.image_count} images kept, {left_out} left out"]
    lines += [diversity] if diversity else []
    modes = {check: getattr(options, check) for check in CHECKS}
    unreadable = [finding for finding in findings if finding.check == UNREADABLE]
    if unreadable:
        lines += _section("unreadable (always left out)", unreadable)
    for check, title in CHECKS.items():
        found = [finding for finding in findings if finding.check == check]
        lines += _section(f"{title} ({modes[check]})", found) if modes[check] != "off" else []
    if dataset.problems:
        lines += ["", f"left out before: {len(dataset.problems)}"]
        lines += [f"  {problem.path.name}: {problem.reason}" for problem in dataset.problems]
    return "\n".join(lines)


def _section(title: str, found: Sequence[Finding]) -> list[str]:
    rows = in_lines([f"{finding.name}: {finding.sentence}" for finding in found], SHOWN)
    return ["", f"{title}: {len(found)}", *(f"  {row}" for row in rows)]
