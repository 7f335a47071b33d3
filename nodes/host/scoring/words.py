"""What Score Previews says: which step is best, every number with how it was made, what is absent and why."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from ....base.shortened import in_lines
from ....tagger import Scores, Subject
from ....tagger.scores.scorecard import (
    IDENTITY_UNKNOWN,
    IN_PROMPT,
    NO_COMMON,
    NO_IDENTITY,
    NO_MODEL_IMAGE,
    NOT_IN_PROMPT,
    NOTHING_SEEN,
)
from ....trainer.runs.run_list import Run
from ....trainer.runs.scorecard import SCORES, Best, Group, Scorecard
from .previews import Shown

_SHOWN_PREVIEWS, _SHOWN_TAGS = 60, 8
_MADE = (
    "How they are made: a tag is shown when the tagger gives it {threshold:g} or more. obedience: share of the "
    "prompt's tags shown. recall: share of the identity tags shown that only the trigger asks for. leakage: "
    "share, by frequency, of common training tags shown that neither the prompt asks for nor the MODEL "
    "shows without the LoRA. drift: distance of the tags to those without the LoRA, where the trigger "
    "is not in the prompt. ± is the 95 % interval by Student's t over the images {over}. All are as good as the tagger."
)
AGAIN = "and train again with another seed: a finished run gets no new previews"
"""What helps against a reason for which the previews of this run are not enough."""
_LOWER = "lower the threshold"
_HELP = {
    NO_MODEL_IMAGE: f"set at_start in Preview Settings, or add 0 to its strengths, {AGAIN}",
    NO_IDENTITY: "connect the tags of Find Identity Tags, or take them out of the captions before training",
    IDENTITY_UNKNOWN: "name tags of the tagger",
    NO_COMMON: _LOWER,
    NOTHING_SEEN: _LOWER,
    IN_PROMPT: f"add a prompt without the trigger word to Preview Settings, {AGAIN}",
    NOT_IN_PROMPT: f"add a prompt with the trigger word to Preview Settings, {AGAIN}",
}
"""What helps against a reason."""
_OF_OTHERS = (IN_PROMPT, NOT_IN_PROMPT)
"""Reasons of prompts that are not meant for a score; they count where there are no other prompts."""


def absence(reason: str) -> str:
    """That there are no scores, and why."""
    return f"No scores: {reason}."


def made(threshold: float, over: str) -> str:
    """How scores are made. over: which images they are means of."""
    return _MADE.format(threshold=threshold, over=over)


def chosen(card: Scorecard, best: Best, given: int | None) -> str:
    """Which step is best by what, how sure that is, and of which step the LoRA is that is given."""
    step, strength = best.group.step, best.group.strength
    by = "the mean of " * (len(best.scores) > 1) + ", ".join(map(_towards, best.scores))
    said = [f"Best is step {step:,} at strength {strength:g}: {best.total} by {by}."]
    if best.alike:
        others = [f"{group.step:,} at {group.strength:g}" for group in best.alike]
        said.append(f"Within the spread no worse: step {', '.join(others)}.")
    elif best.total.error is None and len(card.groups()) > 1:
        said.append("One preview of a kind has no spread: another seed may choose another step.")
    if given is not None and given != step:
        said.append(
            f"There is no file of that step: the LoRA is of the nearest one that is kept, step {given:,} "
            "(Checkpoint Settings keeps more)."
        )
    return " ".join(said)


def report(
    run: Run,
    card: Scorecard,
    scores: Mapping[Shown, Scores],
    subject: Subject,
    images: int,
    where: str,
    advice: str,
    known: Collection[str],
) -> str:
    """All that was found, group by group and preview by preview. known: every tag of the tagger."""
    head = [
        f"run {run.name}: {len(scores)} previews and {images} training images, {card.tagger} {where}"
    ]
    head += _identity(subject, known)
    head += [f"when to stop: {advice}"] * bool(advice)
    rows = [_preview(one, of) for one, of in scores.items()]
    return "\n".join(
        [
            *head,
            *in_lines(_prompts(scores), _SHOWN_PREVIEWS, "more prompts"),
            "",
            *map(_group, card.groups()),
            *_absent(card.groups(), scores),
            *_uncompared(scores),
            "",
            *in_lines(rows, _SHOWN_PREVIEWS, "more previews"),
            "",
            made(card.threshold, "of the row, which differ in prompt or seed"),
        ]
    )


def _identity(subject: Subject, known: Collection[str]) -> Iterator[str]:
    counted = [tag for tag in subject.identity if tag in known]
    if counted:
        yield f"identity tags that the trigger stands for: {', '.join(counted)}"
    unknown = [tag for tag in subject.identity if tag not in known]
    if unknown:
        yield f"identity tags that the tagger does not know, and that do not count: {', '.join(unknown)}"


def prompt_title(shown: Sequence[Shown], number: int) -> str:
    """`prompt 1: thing, blue theme`: the number of a prompt, from 0, with its words where a preview says them."""
    texts = (one.prompt for one in shown if one.place.prompt == number and one.prompt)
    text = next(texts, "")
    return f"prompt {number + 1}{': ' * bool(text)}{' '.join(text.split())}"


def _prompts(scores: Mapping[Shown, Scores]) -> list[str]:
    numbers = sorted({one.place.prompt for one in scores})
    return [prompt_title([*scores], number) for number in numbers]


def short(scores: Scores) -> Iterator[str]:
    """The scores of one preview, those that there are."""
    for name in SCORES:
        value = getattr(scores, name)
        if value is not None:
            yield f"{name} {value:.2f}"


def _towards(score: str) -> str:
    return f"1 - {score}" if score in ("leakage", "drift") else score


def _group(group: Group) -> str:
    means = ", ".join(f"{name} {mean}" for name, mean in group.means.items())
    return f"step {group.step:,}, strength {group.strength:g}: {means or 'no scores'}"


def _absent(groups: Sequence[Group], scores: Mapping[Shown, Scores]) -> Iterator[str]:
    """Scores that no preview has, why none of those that come nearest does, and what helps."""
    for name in SCORES:
        if not any(name in group.means for group in groups):
            reasons = {
                of.why[name] for one, of in scores.items() if name in of.why and not one.is_base
            }
            for reason in sorted(reasons, key=_distance)[:1]:
                helps = f" ({_HELP[reason]})" if reason in _HELP else ""
                yield f"{name} is absent: {reason}{helps}"


def _distance(reason: str) -> tuple[bool, bool, str]:
    """The smallest is that of the previews that come nearest to a score."""
    return reason in _OF_OTHERS, reason not in _HELP, reason


def _uncompared(scores: Mapping[Shown, Scores]) -> Iterator[str]:
    """How many previews count as leaking what the MODEL may show by itself."""
    count = sum(
        of.leakage is not None and not one.is_base and one.base is None
        for one, of in scores.items()
    )
    if count:
        yield (
            f"leakage of {count} preview(s) may be the MODEL's own: {NO_MODEL_IMAGE} ({_HELP[NO_MODEL_IMAGE]})"
        )


def _preview(one: Shown, scores: Scores) -> str:
    place = one.place
    name = f"step {place.step:,}, prompt {place.prompt + 1}, strength {place.strength:g}"
    parts = [", ".join(short(scores)) or "no scores: " + next(iter(scores.why.values()), "")]
    leaked = f"leaked {len(scores.leaked)} of {scores.can_leak} common tags"
    for what, tags in (
        ("not shown", scores.missing),
        ("forgotten", scores.forgotten),
        (leaked, scores.leaked),
    ):
        if tags:
            more = " …" * (len(tags) > _SHOWN_TAGS)
            parts.append(f"{what}: {', '.join(tags[:_SHOWN_TAGS])}{more}")
    return f"{name}{' (without the LoRA)' * one.is_base}: {'; '.join(parts)}"
