"""Find Identity Tags on a DATASET: proposing them, and doing with them what was asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from ....base.caption_reader import caption_tags
from ....base.shortened import in_lines
from ....tagger import (
    Identity,
    IdentityConfig,
    IdentityPolicy,
    IdentityTag,
    compare,
    find_identity,
    prune,
    tag_key,
)
from ....trainer.dataset.dataset import Dataset, Sample, Subset
from .filter_tags import SHOWN_CHANGES, categories

SHOWN_RARER = 10


def identity_tags(
    dataset: Dataset, options: IdentityConfig, policy: IdentityPolicy, rate: float
) -> tuple[Dataset, str, str]:
    """The dataset after the policy, the proposed tags, and a report of what was found and done.

    Regularisation images are neither counted nor changed.
    """
    samples = _own(dataset)
    found = find_identity(
        [sample.caption for sample in samples],
        options,
        [categories(sample) for sample in samples],
        dataset.trigger,
    )
    keys = {tag_key(tag.tag) for tag in found.proposed}
    result = dataset
    if policy != "keep" and keys:
        subsets = [
            subset if subset.is_reg else _applied(subset, keys, policy, rate)
            for subset in dataset.subsets
        ]
        result = dataclasses.replace(dataset, subsets=tuple(subsets))
    done = _done(dataset, result, policy, rate)
    reg = dataset.image_count - len(samples)
    report = "\n".join([*_findings(found, options.percent, reg), "", done])
    return result, ", ".join(tag.tag for tag in found.proposed), report


def _own(dataset: Dataset) -> list[Sample]:
    return [sample for subset, sample in dataset.samples() if not subset.is_reg]


def _applied(subset: Subset, keys: Collection[str], policy: str, rate: float) -> Subset:
    """The subset with the tags pruned from its captions, or marked to be dropped at random."""
    if policy == "prune":
        samples = tuple(_pruned(sample, keys) for sample in subset.samples)
        return dataclasses.replace(subset, samples=samples)
    tags = (tag for sample in subset.samples for tag in caption_tags(sample.caption))
    spelled = (tag for tag in tags if tag_key(tag) in keys)
    optional = tuple(dict.fromkeys([*subset.optional_tags, *spelled]))
    return dataclasses.replace(subset, optional_tags=optional, optional_rate=rate)


def _pruned(sample: Sample, keys: Collection[str]) -> Sample:
    caption = prune(sample.caption, keys)
    if caption == sample.caption:
        return sample
    scores = tuple(score for score in sample.tags if tag_key(score.name) not in keys)
    return dataclasses.replace(sample, caption=caption, tags=scores)


def _findings(found: Identity, percent: int, regularisation: int) -> list[str]:
    """What is proposed, what is just too rare, and what was not looked at."""
    head = f"{len(found.proposed)} identity tags on at least {percent} % of {found.captions} images"
    lines = [head, *(f"  {_share(tag, found.captions)}" for tag in found.proposed)]
    if found.rarer:
        rarer = [_share(tag, found.captions) for tag in found.rarer]
        rows = in_lines(rarer, SHOWN_RARER, "others")
        lines += ["rarer ones, not proposed:", *(f"  {row}" for row in rows)]
    if found.prose:
        lines.append(f"not counted, as their captions are written in sentences: {found.prose}")
    if regularisation:
        lines.append(f"not counted, as they are regularisation images: {regularisation}")
    return lines


def _share(tag: IdentityTag, captions: int) -> str:
    return f"{tag.captions:5} ({tag.captions * 100 // captions:3} %)  {tag.kind:11}  {tag.tag}"


def _done(before: Dataset, after: Dataset, policy: str, rate: float) -> str:
    """What the policy changed, exactly."""
    if policy == "prune" and after != before:
        old, new = _own(before), _own(after)
        names = [sample.path.name for sample in old]
        changes = compare(names, [s.caption for s in old], [s.caption for s in new])
        return "applied: taken out of the captions\n" + changes.text(SHOWN_CHANGES)
    if policy == "hybrid" and after != before:
        tags = dict.fromkeys(tag for subset in after.subsets for tag in subset.optional_tags)
        return (
            f"applied: kept in the captions; at every use in training each is left out with "
            f"chance {rate:g}: {', '.join(tags)}"
        )
    return f"applied: nothing (policy {policy}); the captions are as they were"
