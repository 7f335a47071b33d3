"""Score Previews: the previews of a run and its training images, seen by one tagger."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from ....base.write_errors import CannotWrite
from ....tagger import Preview, Scores, Subject, TaggerConfig, score
from ....trainer.dataset.dataset import Dataset, Sample
from ....trainer.dataset.unchanged import check_unchanged
from ....trainer.lora_files.file import LoraModel
from ....trainer.runs.run_list import Run, run_of
from ....trainer.runs.scorecard import (
    SCORES,
    Criterion,
    Scorecard,
    ScoredPreview,
    write_scorecard,
)
from ....trainer.validation.book import when_to_stop_of
from .. import folders
from ..dataset.recognise import Recognised, recognise, sample_of
from ..model.vae import told_image
from .previews import Shown, shown_previews
from .sheet import sheets
from .step_loras import nearest_lora, steps_in
from .subject import own_samples, subject_of
from .words import absence, chosen, report

NO_PREVIEWS = "There are no previews to score: connect Preview Settings to Train."
UNSAID = "the preview does not say its prompt: it is older than this version, or under --disable-metadata"
_MOST_TAGS = 8

log = logging.getLogger(__name__)


class Scored(NamedTuple):
    """What the node gives: the LoRA of the best step, the sheets, the report."""

    lora: Mapping[str, Tensor]
    sheets: Tensor
    report: str


def score_previews(
    lora: Mapping[str, Tensor],
    dataset: Dataset,
    tagger: TaggerConfig,
    *,
    threshold: float,
    identity: Sequence[str] = (),
    criterion: Criterion = "all",
    node_id: str | None = None,
) -> Scored:
    """Score all previews of the run that a LoRA comes from, and keep the scores in its folder.

    ``identity``: tags that the trigger stands for, instead of those that are found. What cannot be scored
    is told, and the LoRA given on as it is.

    Raises:
        ValueError: the LoRA is of no run that is there, or images changed since they were loaded.
    """
    run = _run(lora)
    check_unchanged(dataset)
    shown = shown_previews(run)
    if not shown:
        return Scored(lora, told_image(NO_PREVIEWS), NO_PREVIEWS)
    own = own_samples(dataset)
    try:
        samples = {one: sample_of(one.path) for one in shown}
        found = recognise([*own, *samples.values()], tagger, node_id)
    except (ValueError, OSError) as problem:
        said = absence(f"nothing could be tagged: {problem}")
        log.warning("LoRA Loop: %s", said)
        return Scored(lora, told_image(said), said)
    subject = subject_of(dataset, found, threshold, identity)
    scores = _scores(samples, found, subject, threshold)
    rows = tuple(_row(one, of) for one, of in scores.items())
    card = Scorecard(rows, tagger.name, threshold, criterion)
    notes = _kept(run, card)
    given, said = _best(run, card, lora)
    images = len(own) - sum(sample.digest in found.lost for sample in own)
    text = report(run, card, scores, subject, images, found.where, when_to_stop_of(run.path))
    return Scored(given, sheets(scores), "\n".join([said, *notes, "", text]))


def _run(lora: Mapping[str, Tensor]) -> Run:
    root = folders.runs_root()
    run = run_of(root, getattr(lora, "metadata", {}))
    if run is None:
        raise ValueError(
            f"Score Previews: this LoRA is of no training in {root}. Connect the LoRA of Train, or one that "
            "was saved from a run which is still there."
        )
    return run


def _scores(
    samples: Mapping[Shown, Sample], found: Recognised, subject: Subject, threshold: float
) -> dict[Shown, Scores]:
    """The scores of every preview; of one that says no prompt, or cannot be read, the reason."""
    digests = {one.path: sample.digest for one, sample in samples.items()}
    scores: dict[Shown, Scores] = {}
    for one, sample in samples.items():
        tags = found.tags.get(sample.digest)
        if tags is None or one.prompt is None:
            why = dict.fromkeys(SCORES, found.lost.get(sample.digest, UNSAID))
            scores[one] = Scores(None, None, None, None, why)
            continue
        base = None if one.base is None else found.tags.get(digests[one.base])
        preview = Preview(one.prompt, tags, base)
        scores[one] = score(preview, subject, found.known, threshold)
    return scores


def _row(one: Shown, scores: Scores) -> ScoredPreview:
    tags = {
        name: list(getattr(scores, name)[:_MOST_TAGS])
        for name in ("missing", "forgotten", "leaked")
    }
    values = {name: getattr(scores, name) for name in SCORES}
    named = {name: found for name, found in tags.items() if found}
    place = one.place
    return ScoredPreview(place.step, place.prompt, place.strength, values, one.is_base, named)


def _kept(run: Run, card: Scorecard) -> list[str]:
    """Write the scores into the run's folder; what could not be written, as a sentence."""
    try:
        write_scorecard(run.path, card, folders.runs_root())
    except CannotWrite as error:
        return [f"The scores are not kept: {error}"]
    return []


def _best(
    run: Run, card: Scorecard, lora: Mapping[str, Tensor]
) -> tuple[Mapping[str, Tensor], str]:
    """The LoRA of the best step, or the nearest there is, and what is said of it."""
    best = card.best()
    if best is None:
        return lora, absence(
            "no score can be compared between the steps; the LoRA is given on as it is"
        )
    step = best.group.step
    if steps_in(getattr(lora, "metadata", {})) == step:
        return lora, chosen(card, best, step)
    nearest = nearest_lora(run, step)
    if nearest is None:
        return (
            lora,
            f"{chosen(card, best, None)} No file of the run can be read; the LoRA is given on as it is.",
        )
    return LoraModel(nearest.lora, nearest.lora.metadata), chosen(card, best, nearest.step)
