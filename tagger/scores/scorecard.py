"""Four scores of a preview, each from the tags that a tagger sees on it. All lie in 0..1.

- obedience: the share of the prompt's tags that the preview shows;
- recall: with the trigger in the prompt, the share of the identity tags shown that neither the captions
  nor the prompt name, so that the trigger alone brings them;
- leakage: the share, by frequency, of the common tags of the training set that it shows though nobody
  asked for them, and though the model without the LoRA does not show them;
- drift: without the trigger in the prompt, how far its tags are from those of the model without the LoRA.

A tag is shown from a threshold of probability on. Only tags that the tagger knows are counted.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from ...base.caption_reader import caption_tags, spoken
from ..captions.identity import identity_kind
from ..captions.tag_text import tag_key

COMMON = 0.25
"""Share of the training images from which on a tag can leak: what few images show is no habit."""

IDENTITY = 0.5
"""Share of the training images that show an identity tag without naming it, for the trigger to stand for it."""

_WORD = re.compile(r"\w+")


class Seen(NamedTuple):
    """What a tagger sees on a training image, by `tag_key` with its probability, and its caption."""

    tags: Mapping[str, float]
    caption: str


class Subject(NamedTuple):
    """What a training set teaches.

    ``common``: by `tag_key` the share of images, 0..1, that show a tag; ``identity``: tags that the
    trigger shall stand for, because the captions do not name them.
    """

    trigger: str
    common: Mapping[str, float]
    identity: tuple[str, ...]


class Preview(NamedTuple):
    """A preview as the tagger sees it: its prompt, and probabilities by `tag_key`.

    ``without``: those of the same prompt and seed by the model without the LoRA; None where there is no
    such image, or it is that image itself.
    """

    prompt: str
    tags: Mapping[str, float]
    without: Mapping[str, float] | None = None


class Scores(NamedTuple):
    """The scores of one preview, None where one cannot be told: ``why`` says the reason by its name.

    ``missing``: asked-for tags that it does not show; ``forgotten``: identity tags that it does not
    show; ``leaked``: training tags that nobody asked for, of the ``can_leak`` that could have been.
    """

    obedience: float | None
    recall: float | None
    leakage: float | None
    drift: float | None
    why: Mapping[str, str]
    missing: tuple[str, ...] = ()
    forgotten: tuple[str, ...] = ()
    leaked: tuple[str, ...] = ()
    can_leak: int = 0


NO_TRIGGER = "the dataset has no trigger word"
NOT_IN_PROMPT = "the prompt lacks the trigger word"
IN_PROMPT = "the prompt has the trigger word"
NO_IDENTITY = "the captions leave out no identity tag that most images show"
IDENTITY_UNKNOWN = "the tagger knows none of the identity tags"
IDENTITY_ASKED = "the prompt names every identity tag"
NO_COMMON = "no tag that the tagger knows is shown by a quarter of the training images"
ALL_ASKED = "every common tag of the training set is asked for, or shown without the LoRA too"
IS_MODEL = "without the LoRA nothing can leak"
UNKNOWN = "the tagger knows none of the prompt's tags"
NO_MODEL_IMAGE = "there is no preview of the same prompt and seed without the LoRA"
NOTHING_SEEN = "no tag is shown on the preview, and none without the LoRA"


def study(
    images: Sequence[Seen], trigger: str, threshold: float, identity: Collection[str] = ()
) -> Subject:
    """What a training set teaches. ``identity``: tags that are given, instead of those that are found.

    Found are tags of hair, eyes, body and accessories (see `identity_kind`) that at least half of the
    images show while their captions do not name them.
    """
    counts: dict[str, int] = {}
    unnamed: dict[str, int] = {}
    for seen in images:
        named = set(map(tag_key, caption_tags(seen.caption)))
        for tag in shown(seen.tags, threshold):
            counts[tag] = counts.get(tag, 0) + 1
            unnamed[tag] = unnamed.get(tag, 0) + (tag not in named)
    found = [tag for tag, count in unnamed.items() if count >= IDENTITY * len(images)]
    kept = map(tag_key, identity) if identity else filter(identity_kind, sorted(found))
    common = {tag: count / len(images) for tag, count in counts.items()}
    least = {tag: share for tag, share in common.items() if share >= COMMON}
    return Subject(trigger, least, tuple(dict.fromkeys(kept)))


def shown(tags: Mapping[str, float], threshold: float) -> set[str]:
    """The tags that an image shows."""
    return {tag for tag, probability in tags.items() if probability >= threshold}


def score(preview: Preview, subject: Subject, known: Collection[str], threshold: float) -> Scores:
    """The scores of one preview. ``known``: every tag of the tagger, by `tag_key`."""
    asked = [tag for tag in _asked(preview.prompt, subject.trigger) if tag in known]
    words = _words(preview.prompt)
    has_trigger = bool(subject.trigger) and _has(words, _words(subject.trigger))
    here = shown(preview.tags, threshold)
    identity = [tag for tag in subject.identity if tag in known and tag not in asked]
    open_to_leak = _unasked(preview, subject, known, threshold, identity if has_trigger else [])

    why = {}
    if not asked:
        why["obedience"] = UNKNOWN
    if not subject.trigger:
        why["recall"] = why["drift"] = NO_TRIGGER
    elif not has_trigger:
        why["recall"] = NOT_IN_PROMPT
    elif not identity:
        why["recall"] = _no_identity(subject, known)
    if not open_to_leak:
        why["leakage"] = ALL_ASKED if any(tag in known for tag in subject.common) else NO_COMMON
    if has_trigger:
        why["drift"] = IN_PROMPT
    elif preview.without is None:
        why.setdefault("drift", NO_MODEL_IMAGE)
    drift = _distance(preview.tags, preview.without or {}, threshold)
    if drift is None:
        why.setdefault("drift", NOTHING_SEEN)

    leaked = {tag: share for tag, share in open_to_leak.items() if tag in here}
    values = {
        "obedience": _share([tag in here for tag in asked]),
        "recall": _share([tag in here for tag in identity]),
        "leakage": sum(leaked.values()) / (sum(open_to_leak.values()) or 1),
        "drift": drift,
    }
    missing = tuple(tag for tag in asked if tag not in here)
    lost = () if "recall" in why else tuple(tag for tag in identity if tag not in here)
    told = {name: None if name in why else value for name, value in values.items()}
    most = tuple(sorted(leaked, key=lambda tag: (-leaked[tag], tag)))
    return Scores(
        **told, why=why, missing=missing, forgotten=lost, leaked=most, can_leak=len(open_to_leak)
    )


def without_leakage(scores: Scores) -> Scores:
    """Those of an image that the model made without the LoRA."""
    why = {**scores.why, "leakage": IS_MODEL}
    return scores._replace(leakage=None, leaked=(), can_leak=0, why=why)


def _no_identity(subject: Subject, known: Collection[str]) -> str:
    if not subject.identity:
        return NO_IDENTITY
    is_known = any(tag in known for tag in subject.identity)
    return IDENTITY_ASKED if is_known else IDENTITY_UNKNOWN


def _asked(prompt: str, trigger: str) -> list[str]:
    """The whole tags of a prompt, weights seen through, without the trigger."""
    aside = {tag_key(tag) for tag in (trigger, *caption_tags(trigger))}
    keys = map(tag_key, caption_tags(prompt))
    return [key for key in dict.fromkeys(keys) if key not in aside]


def _unasked(
    preview: Preview,
    subject: Subject,
    known: Collection[str],
    threshold: float,
    identity: Collection[str],
) -> dict[str, float]:
    """Common tags of the training set that can leak into a preview.

    Asked for is a tag all of whose words are in the prompt: of a sentence too. What the model shows
    without the LoRA does not come from the training.
    """
    words = set(_words(preview.prompt))
    own = shown(preview.without or {}, threshold)
    trigger = {tag_key(tag) for tag in (subject.trigger, *caption_tags(subject.trigger))}
    return {
        tag: share
        for tag, share in subject.common.items()
        if tag in known
        and tag not in identity
        and tag not in own
        and tag not in trigger
        and not (_WORD.search(tag) and words.issuperset(_words(tag)))
    }


def _distance(
    here: Mapping[str, float], there: Mapping[str, float], threshold: float
) -> float | None:
    """0 for the same probabilities, 1 for nothing in common: sum of differences by sum of the larger.

    Of the tags that at least one of both images shows (Ruzicka's distance).
    """
    tags = shown(here, threshold) | shown(there, threshold)
    pairs = [(here.get(tag, 0.0), there.get(tag, 0.0)) for tag in tags]
    most = sum(max(pair) for pair in pairs)
    return sum(abs(a - b) for a, b in pairs) / most if most else None


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / (len(hits) or 1)


def _words(text: str) -> list[str]:
    return _WORD.findall(tag_key(spoken(text)))


def _has(words: Sequence[str], phrase: Sequence[str]) -> bool:
    """Whether the words of a phrase stand one behind the other."""
    return bool(phrase) and f" {' '.join(phrase)} " in f" {' '.join(words)} "
