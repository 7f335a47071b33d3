"""Filter Tags applied to a DATASET: its captions, and the tags' scores that travel with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from ....base.caption_reader import caption_tags
from ....base.gc_pause import collection_paused
from ....tagger import FilterConfig, Kept, Tag, filter_captions, tag_key
from ....trainer.dataset.dataset import Dataset, Sample, Subset, TagScore
from ..progress import check_interrupt

SHOWN_CHANGES = 200


@collection_paused()
def filter_dataset(dataset: Dataset, options: FilterConfig) -> tuple[Dataset, str]:
    """The dataset with filtered captions and the trigger word, and the report.

    Regularisation images show what the trigger is not: they are filtered without it, and tags are
    counted among themselves.
    """
    reports = []
    subsets = list(dataset.subsets)
    for is_reg in (False, True):
        places = [i for i, subset in enumerate(subsets) if subset.is_reg == is_reg]
        samples = [sample for i in places for sample in subsets[i].samples]
        if not samples:
            continue
        rules = dataclasses.replace(options, trigger="") if is_reg else options
        filtered = filter_captions(
            [sample.caption for sample in samples],
            rules,
            [sample.path.name for sample in samples],
            [categories(sample) for sample in samples],
            check_interrupt,
        )
        results = iter(zip(filtered.captions, filtered.kept, strict=True))
        for i in places:
            subsets[i] = _filtered(subsets[i], results, options.separator)
        kind = "regularisation images: " if is_reg else ""
        reports.append(kind + filtered.report.text(SHOWN_CHANGES))
    if options.drop_categories and not any(sample.tags for _, sample in dataset.samples()):
        reports.append("no tag has a category: they come from WD14 Tag, connected in front")
    trigger = options.trigger or dataset.trigger
    result = dataclasses.replace(dataset, subsets=tuple(subsets), trigger=trigger)
    return result, "\n\n".join(reports)


def categories(sample: Sample) -> dict[str, str]:
    """The categories of an image's tags as far as a tagger gave them, by `tag_key`."""
    return {tag_key(score.name): score.category for score in reversed(sample.tags)}


def _filtered(subset: Subset, results: Iterator[tuple[str, list[Kept]]], separator: str) -> Subset:
    """The subset with its next captions; scores and optional tags follow the tags they belong to."""
    samples = []
    optional: dict[str, dict[str, None]] = {tag: {} for tag in subset.optional_tags}
    for sample, (caption, kept) in zip(subset.samples, results, strict=False):
        scores = _following(sample.tags, caption_tags(sample.caption, separator), kept)
        samples.append(dataclasses.replace(sample, caption=caption, tags=scores))
        for item in kept:
            if item.source in optional:
                optional[item.source][item.tag] = None
    names = dict.fromkeys(name for renamed in optional.values() for name in renamed)
    return dataclasses.replace(subset, samples=tuple(samples), optional_tags=tuple(names))


def _following(
    scores: Sequence[TagScore], before: Sequence[str], kept: Sequence[Kept]
) -> tuple[TagScore, ...]:
    """The scores after a change of caption: one goes with its tag and is renamed with it.

    So a later node finds the category of each tag of the caption by `tag_key`. Scores of tags that
    the caption never had stay as they are.
    """
    known = {tag_key(score.name) for score in scores}
    gone = {tag_key(tag) for tag in before} - {tag_key(item.tag) for item in kept}
    followed = []
    for score in scores:
        key = tag_key(score.name)
        if key not in gone:
            followed.append(score)
        else:
            followed += [
                Tag(item.tag, score.category, score.probability)  # pyright: ignore[reportArgumentType]  (a score's category is a tagger's)
                for item in kept
                if tag_key(item.source) == key and tag_key(item.tag) not in known
            ]
    return tuple(followed)
