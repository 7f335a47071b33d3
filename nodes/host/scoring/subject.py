"""What a training set teaches, as the tagger that scores sees it."""

from __future__ import annotations

from collections.abc import Sequence

from ....tagger import Seen, Subject, study
from ....trainer.dataset.dataset import Dataset, Sample
from ..dataset.recognise import Recognised


def own_samples(dataset: Dataset) -> list[Sample]:
    """The images that are trained on, without those for regularisation."""
    return [sample for subset, sample in dataset.samples() if not subset.is_reg]


def subject_of(
    dataset: Dataset, found: Recognised, threshold: float, identity: Sequence[str] = ()
) -> Subject:
    """Of the images that could be tagged. identity: see `study`."""
    known = [sample for sample in own_samples(dataset) if sample.digest in found.tags]
    seen = [Seen(found.tags[sample.digest], sample.caption) for sample in known]
    return study(seen, dataset.trigger, threshold, identity)
