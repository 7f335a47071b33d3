"""Dataset Report: each image's loss without and with a LoRA, what stands out, as text, sheet and flags."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ....base.shortened import in_lines
from ....trainer.cache.latents import CachedDataset, CachedItem
from ....trainer.config.measuring import MeasureConfig
from ....trainer.config.train import TrainConfig
from ....trainer.dataset.contact_sheet import contact_sheet
from ....trainer.dataset.dataset import Sample
from ....trainer.runs.run_list import Run
from ....trainer.validation.dataset_report import FLAGS, LEAST, Losses, Verdict, judge
from ....trainer.validation.image_losses import compare
from ....trainer.validation.split import split
from ..model.host_types import Clip, ModelPatcher
from ..model.vae import to_image
from .kept_reports import Kept, keep, tell_page
from .measuring import Measuring
from .run_settings import best_of, find_run, settings_of

SHOWN = 200
"""Images of a part of the report."""

_THUMB, _LETTERS, _MOST = 256, 44, 64


@dataclass(frozen=True)
class Report:
    """What was measured of a dataset, and what that says."""

    items: Sequence[CachedItem]
    """Those that were trained on, each once, then those that were held out."""
    trained: int
    losses: Losses
    best: tuple[int, Tensor] | None
    """The best step, where one was kept, and the losses at it."""
    step: str
    """Of the LoRA, in words."""
    verdicts: Sequence[Verdict]
    """Of the images that were trained on, the most striking first."""


def dataset_report(
    model: ModelPatcher,
    clip: Clip,
    cached: CachedDataset,
    lora: Mapping[str, Tensor],
    settings: MeasureConfig,
    node_id: str | None = None,
) -> tuple[str, Tensor]:
    """The report as text, and as a sheet of images, IMAGE [1, H, W, 3]. Called in inference mode.

    Loss and captions are those of the LoRA's run, where its folder is there. What was found is kept in
    that folder, and the Dataset page flags it.
    """
    run = find_run(lora)
    report = measure(model, clip, cached, lora, settings, run, node_id)
    samples = _samples(cached)
    kept = _kept(report, samples)
    tell_page([image for image, _ in kept])
    note = "the LoRA's run is not here: measured with the default loss, and not kept"
    if run is not None:
        note = f"kept in {keep(run.path, kept)}"
    return "\n".join([*_lines(report, settings), "", note]), to_image(_sheet(report, samples))


def measure(
    model: ModelPatcher,
    clip: Clip,
    cached: CachedDataset,
    lora: Mapping[str, Tensor],
    settings: MeasureConfig,
    run: Run | None = None,
    node_id: str | None = None,
) -> Report:
    """Measure every image at the start, the best step and with the LoRA, and judge it.

    Raises:
        ValueError: as `Measuring` and `judge` say.
    """
    config, best = settings_of(run), best_of(run, lora)
    settings = replace(settings, shared=True, loss=config.loss, captions=config.captions)
    trained, held_out = _once(cached, config)
    passes = 5 if best else 4
    items = (*trained, *held_out)
    with Measuring(
        model, clip, replace(cached, items=items), settings, node_id, passes
    ) as measured:
        blank = [""] * len(items)
        losses = Losses(
            measured.losses(),
            measured.losses(lora),
            measured.losses(captions=blank),
            measured.losses(lora, captions=blank),
        )
        between = best and (best[0], measured.losses(best[1]))
    count = len(trained)
    verdicts = judge(
        Losses(*(each[:count] for each in losses)),
        [item.name for item in trained],
        [item.bucket for item in trained],
    )
    return Report(measured.items, count, losses, between, _step(lora, run), verdicts)


def _step(lora: Mapping[str, Tensor], run: Run | None) -> str:
    """Such as `` (step 12 of 24)``; "" where it is not known."""
    step = getattr(lora, "metadata", {}).get("ss_steps", "")
    steps = run.config.get("steps") if run is not None else None
    if not step:
        return ""
    return f" (step {step} of {steps})" if steps else f" (step {step})"


def _once(cached: CachedDataset, config: TrainConfig) -> tuple[list[CachedItem], list[CachedItem]]:
    """The images that were trained on and those held out, each at its first resolution."""
    parts = split(cached, config)
    learned = [i for i in parts.training.items if not (i.is_reg or i.preserves)]
    trained, held_out = (
        {item.name: item for item in reversed(items)} for items in (learned, parts.held_out.items)
    )
    return [*trained.values()][::-1], [*held_out.values()][::-1]


def _samples(cached: CachedDataset) -> dict[str, Sample]:
    """By the name that an item has."""
    pairs = cached.dataset.samples()
    return {f"{subset.name}/{sample.path.name}": sample for subset, sample in pairs}


def _kept(report: Report, samples: Mapping[str, Sample]) -> list[tuple[Kept, dict[str, Any]]]:
    """Of each image what is kept, and its numbers."""
    found = []
    for verdict in report.verdicts:
        item = report.items[verdict.image]
        if item.name in samples:
            kept = Kept(samples[item.name].path, item.digest, verdict.flag, verdict.reason)
            numbers = {"score": verdict.score, "losses": _numbers(report, verdict.image)}
            found.append((kept, numbers))
    return found


def _numbers(report: Report, image: int) -> dict[str, float]:
    """Losses of an image, geometric means: their ratio is the mean ratio that a verdict tells."""
    found = {"start": report.losses.start}
    if report.best is not None:
        found["best"] = report.best[1]
    found["lora"] = report.losses.last
    return {
        name: float(losses[image].double().log().mean().exp()) for name, losses in found.items()
    }


def _lines(report: Report, settings: MeasureConfig) -> list[str]:
    flagged = [verdict for verdict in report.verdicts if verdict.flag]
    held_out = len(report.items) - report.trained
    judged = f"{len(flagged)} of {report.trained} images stand out"
    if report.trained < LEAST:
        count = "1 image was" if report.trained == 1 else f"{report.trained} images were"
        judged = f"{count} trained on: too few to say which stand out, that takes {LEAST}"
    lines = [
        judged,
        f"each measured at {settings.timesteps} timesteps with {settings.seeds} seeds of noise, the same for "
        "all of a shape, without and with the LoRA; losses of single images are geometric means over that noise, "
        "and their ± holds 95 % over it, compared with the other images",
        *(
            _course("images trained on", report, slice(0, report.trained))
            if report.trained > 1
            else ()
        ),
        *(_course("images held out", report, slice(report.trained, None)) if held_out > 1 else ()),
    ]
    for flag in FLAGS:
        found = [verdict for verdict in flagged if verdict.flag == flag]
        rows = [_row(report, verdict) for verdict in found]
        lines += ["", f"{flag}: {len(found)}", *(f"  {row}" for row in in_lines(rows, SHOWN))]
    rest = [_row(report, verdict) for verdict in report.verdicts if not verdict.flag]
    return [
        *lines,
        "",
        f"nothing found: {len(rest)}",
        *(f"  {row}" for row in in_lines(rest, SHOWN)),
    ]


def _course(what: str, report: Report, part: slice) -> list[str]:
    """How the loss of some images went from the start on."""
    losses, best = report.losses, report.best
    steps = [(f"with this LoRA{report.step}", losses.last)]
    if best is not None:
        steps.insert(0, (f"at the best step ({best[0]})", best[1]))
    return [
        f"{what}: {name} {compare(losses.start[part], found[part])} against the start"
        for name, found in steps
    ]


def _row(report: Report, verdict: Verdict) -> str:
    numbers = _numbers(report, verdict.image)
    told = ", ".join(f"{name} {value:.4f}" for name, value in numbers.items())
    return f"{report.items[verdict.image].name}: {verdict.reason} ({told})"


def _sheet(report: Report, samples: Mapping[str, Sample]) -> np.ndarray:
    """The first 64 images with name, flag, caption and reason."""
    paths: list[Path] = []
    labels = []
    for verdict in report.verdicts:
        item = report.items[verdict.image]
        if item.name in samples and len(paths) < _MOST:
            paths.append(samples[item.name].path)
            head = f"{verdict.flag}: " if verdict.flag else ""
            reason = textwrap.wrap(head + verdict.reason, _LETTERS)
            labels.append("\n".join([item.name, item.caption or "no caption", *reason]))
    return contact_sheet(paths, columns=4, thumb=_THUMB, labels=labels)
