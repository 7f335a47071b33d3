"""Curating a dataset: every image measured, copies found, what is objected to reported or left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ....tagger import CANDIDATE_BITS, HASH_BITS, CurateConfig, find_copies
from ....trainer.dataset.dataset import Dataset, Problem, Subset
from ....trainer.sdxl.buckets import BucketConfig
from ..cache_folder import small_store
from ..model.vae import to_image, told_image
from ..progress import NodeProgress, check_interrupt
from .curate_findings import UNREADABLE, Entry, Finding, report, single_findings
from .page.findings import FOUND
from .quality import Measured, measure_pictures
from .rejects_sheet import rejects_sheet

_ROWS_PER_UPDATE = 100
NOTHING_LEFT_OUT = "No image was left out."

FLAGS = {
    "exact_duplicates": "duplicate",
    "near_duplicates": "duplicate",
    "blurred": "blurred",
    "too_small": "too small",
    "extreme_aspect": "cropped",
    "borders": "bars",
}
"""What the page calls the findings of each check."""


class _Examined(NamedTuple):
    """The findings of each image file, and how diverse the set is."""

    findings: dict[Path, list[Finding]]
    diversity: str

    def rejected(self) -> dict[Path, str]:
        """Why each image is left out, for those that are."""
        reasons = {
            path: ", ".join(finding.label for finding in found if finding.excludes)
            for path, found in self.findings.items()
        }
        return {path: reason for path, reason in reasons.items() if reason}


def curate_dataset(
    dataset: Dataset, config: CurateConfig, buckets: BucketConfig, node_id: str | None = None
) -> tuple[Dataset, Tensor, str]:
    """The kept images, a sheet of those left out (or a picture that says that there are none), and the report.

    Training and regularisation images are apart: one may be in both.
    """
    samples = [sample for _, sample in dataset.samples()]
    with small_store() as store:
        measured = measure_pictures(samples, store, node_id)
    training, reg = (
        _examine(dataset, is_reg, measured, config, buckets, node_id) for is_reg in (False, True)
    )
    leaving, leaving_reg = training.rejected(), reg.rejected()
    broken = [Problem(path, why) for path, why in measured.items() if isinstance(why, str)]
    kept = _without(dataset, leaving, leaving_reg)
    kept = dataclasses.replace(kept, problems=(*dataset.problems, *broken))
    rejected = [*leaving.items(), *leaving_reg.items()]
    sheet = to_image(rejects_sheet(rejected)) if rejected else told_image(NOTHING_LEFT_OUT)
    listed = [*training.findings.values(), *reg.findings.values()]
    findings = [finding for found in listed for finding in found]
    for part, is_reg in ((training, False), (reg, True)):
        _tell_page(dataset, is_reg, part.findings, config)
    return kept, sheet, report(dataset, kept, findings, config, training.diversity)


def _tell_page(
    dataset: Dataset, is_reg: bool, findings: dict[Path, list[Finding]], config: CurateConfig
) -> None:
    """Let the page flag what was objected to, whether it was left out or not."""
    samples = [s for subset, s in dataset.samples() if subset.is_reg == is_reg]
    looked_for = [flag for check, flag in FLAGS.items() if getattr(config, check) != "off"]
    found = {
        path: {FLAGS[f.check]: f.sentence for f in listed if f.check in FLAGS}
        for path, listed in findings.items()
    }
    FOUND.add(samples, looked_for, found)


def _examine(
    dataset: Dataset,
    is_reg: bool,
    measured: dict[Path, Measured | str],
    config: CurateConfig,
    buckets: BucketConfig,
    node_id: str | None,
) -> _Examined:
    """What the checks say of the training or of the regularisation images, each file taken once."""
    findings: dict[Path, list[Finding]] = {}
    entries: list[Entry] = []
    for subset, sample in dataset.samples():
        if subset.is_reg != is_reg or sample.path in findings:
            continue
        result = measured[sample.path]
        if isinstance(result, str):
            name = f"{subset.name}/{sample.path.name}"
            findings[sample.path] = [Finding(UNREADABLE, name, UNREADABLE, result, True)]
            continue
        entry = Entry(subset, sample, result)
        entries.append(entry)
        findings[sample.path] = list(single_findings(entry, config, buckets))

    def rank(entry: Entry) -> tuple[bool, bool, int, bool]:
        """Sorts first what is kept of copies: unobjectionable, large, captioned."""
        found, (width, height) = findings[entry.sample.path], entry.sample.size
        excluded = any(finding.excludes for finding in found)
        return excluded, bool(found), -width * height, not entry.sample.caption

    entries.sort(key=rank)
    if config.exact_duplicates != "off":
        entries, copies = _distinct(entries, config.exact_duplicates == "exclude")
        for path, finding in copies:
            findings[path].append(finding)
    entries.sort(key=lambda entry: (*rank(entry), -entry.sample.stamp.size))
    copies, diversity = _near(entries, config, node_id)
    for path, finding in copies:
        findings[path].append(finding)
    return _Examined(findings, diversity)


def _distinct(
    ranked: Sequence[Entry], excludes: bool
) -> tuple[list[Entry], list[tuple[Path, Finding]]]:
    """The first of each group of images with the same pixels, and findings about the others."""
    first: dict[str, Entry] = {}
    copies = []
    for entry in ranked:
        best = first.setdefault(entry.measured.pixels, entry)
        if best is not entry:
            same_file = entry.sample.digest == best.sample.digest
            alike = "the same file as" if same_file else "the same pixels as"
            copies.append(_copy("exact_duplicates", entry, best, alike, excludes))
    return list(first.values()), copies


def _near(
    ranked: Sequence[Entry], config: CurateConfig, node_id: str | None
) -> tuple[list[tuple[Path, Finding]], str]:
    """Findings about near duplicates of better images, and a line about diversity."""
    if not ranked:
        return [], ""
    mode, least = config.near_duplicates, config.agreement_threshold
    bar = NodeProgress(len(ranked), node_id)

    def on_row(row: int) -> None:
        check_interrupt()
        if row % _ROWS_PER_UPDATE == 0:
            bar.update(row, f"compared {row}/{len(ranked)}")

    matches, nearest = find_copies(
        np.array([entry.measured.quality.hash for entry in ranked]),
        np.array([entry.measured.quality.thumbnail for entry in ranked]),
        None if mode == "off" else least,
        on_row,
    )
    copies = [
        _copy(
            "near_duplicates",
            ranked[match.copy],
            ranked[match.kept],
            f"{match.agreement:.0%} of it agrees (threshold {least:.0%}) with",
            mode == "exclude",
        )
        for match in matches
    ]
    return copies, _diversity(nearest)


def _copy(
    check: str, entry: Entry, best: Entry, alike: str, excludes: bool
) -> tuple[Path, Finding]:
    captions = "" if entry.sample.caption == best.sample.caption else " (the captions differ)"
    sentence = f"{alike} {best.name}; keep that one{captions}"
    label = f"copy of {best.sample.path.name}"
    return entry.sample.path, Finding(check, entry.name, label, sentence, excludes)


def _diversity(nearest: np.ndarray) -> str:
    alone = (nearest > CANDIDATE_BITS).mean()
    return (
        f"diversity: {alone:.0%} of {len(nearest)} distinct training images look like no other "
        f"(over {CANDIDATE_BITS} of {HASH_BITS} bits of the perceptual hash from all others); "
        f"half are at least {np.median(nearest):.0f} bits from their nearest"
    )


def _without(dataset: Dataset, training: dict[Path, str], reg: dict[Path, str]) -> Dataset:
    """The dataset without the rejected images of each kind; emptied folders go too."""

    def subsets() -> Iterator[Subset]:
        for subset in dataset.subsets:
            rejected = reg if subset.is_reg else training
            samples = tuple(s for s in subset.samples if s.path not in rejected)
            if samples:
                yield dataclasses.replace(subset, samples=samples)

    return dataclasses.replace(dataset, subsets=tuple(subsets()))
