"""What a tagger says of the images of Compare LoRAs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from PIL import Image

from ....tagger import Preview, TaggerConfig, score
from ....trainer.dataset.dataset import Dataset, Sample
from ....trainer.runs.scorecard import SCORES, means
from ..dataset.recognise import Recognised, recognise, sample_of
from ..scoring.subject import own_samples, subject_of
from ..scoring.words import absence, made

NO_MODEL_IMAGE = (
    "Add 0 to strengths: drift, and what of leakage is the MODEL's own, need images without a LoRA."
)

log = logging.getLogger(__name__)

Place = tuple[int, float]
"""Which LoRA, and its strength."""


@dataclass(frozen=True)
class Scoring:
    """dataset: what the LoRAs were trained on, with its captions; threshold: an image shows a tag from it on."""

    dataset: Dataset
    tagger: TaggerConfig
    threshold: float


class Scored(NamedTuple):
    """By LoRA and strength the scores in words, and how they are made or why there are none."""

    scores: dict[Place, dict[str, str]]
    notes: list[str]


def scored(
    images: Mapping[Place, Sequence[Image.Image]],
    prompts: Sequence[str],
    scoring: Scoring,
    node_id: str | None,
) -> Scored:
    """The mean of each score over prompts and seeds. images: for each place those of ``prompts``, in order.

    Without a tagger there are none, and the notes say why.
    """
    own = own_samples(scoring.dataset)
    try:
        with TemporaryDirectory(prefix="lora_loop_") as folder:
            samples = {
                place: _written(found, Path(folder, str(number)))
                for number, (place, found) in enumerate(images.items())
            }
            everything = [*own, *(one for found in samples.values() for one in found)]
            seen = recognise(everything, scoring.tagger, node_id)
    except (ValueError, OSError) as problem:
        said = absence(f"nothing could be tagged: {problem}")
        log.warning("LoRA Loop: %s", said)
        return Scored({}, [said])
    subject = subject_of(scoring.dataset, seen, scoring.threshold)
    without = next((found for (_, at), found in samples.items() if at == 0), None)
    rows: dict[Place, dict[str, str]] = {}
    for place, found in samples.items():
        base = None if place[1] == 0 else without
        one = [
            score(preview, subject, seen.known, scoring.threshold)
            for preview in _previews(found, base, prompts, seen)
        ]
        told = means({name: getattr(of, name) for name in SCORES} for of in one)
        rows[place] = {name: str(told[name]) if name in told else "none" for name in SCORES}
    notes = [made(scoring.threshold, "of the prompts and seeds")]
    return Scored(rows, notes if without is not None else [*notes, NO_MODEL_IMAGE])


def _written(images: Sequence[Image.Image], folder: Path) -> list[Sample]:
    """The images as files of a new folder, for the tagger reads files."""
    folder.mkdir()
    samples = []
    for number, image in enumerate(images):
        path = folder / f"{number}.png"
        image.save(path)
        samples.append(sample_of(path))
    return samples


def _previews(
    images: Sequence[Sample],
    without: Sequence[Sample] | None,
    prompts: Sequence[str],
    seen: Recognised,
) -> list[Preview]:
    """Those that the tagger could look at."""
    bases = without or [None] * len(images)
    return [
        Preview(
            prompt,
            seen.tags[image.digest],
            None if base is None else seen.tags.get(base.digest),
        )
        for prompt, image, base in zip(prompts, images, bases, strict=True)
        if image.digest in seen.tags
    ]
