"""What Score Previews says: which step is best, every number with how it was made, what is absent and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ....base.shortened import in_lines
from ....tagger import Scores, Subject
from ....tagger.scores.scorecard import IN_PROMPT, NO_IDENTITY, NO_MODEL_IMAGE, NOT_IN_PROMPT
from ....trainer.runs.run_list import Run
from ....trainer.runs.scorecard import SCORES, Best, Group, Scorecard
from .previews import Shown

_SHOWN_PREVIEWS, _SHOWN_TAGS = 60, 8
_MADE = (
    "How they are made: a tag is shown when the tagger gives it {threshold:g} or more. obedience: share of the "
    "prompt's tags shown. recall: share of the identity tags shown that only the trigger asks for. leakage: "
    "share, by frequency, of common training tags shown that neither the prompt asks for nor the MODEL "
    "shows without the LoRA. drift: distance of the tags to those without the LoRA, where the trigger "
    "is not in the prompt. ± is the standard error over the images {over}. All are as good as the tagger."
)
_HELP = {
    NO_MODEL_IMAGE: "set at_start in Preview Settings, or add 0 to its strengths",
    NO_IDENTITY: "connect the tags of Find Identity Tags, or take them out of the captions before training",
    IN_PROMPT: "add a prompt without the trigger word to Preview Settings",
    NOT_IN_PROMPT: "add a prompt with the trigger word to Preview Settings",
}
"""What helps against a reason; of several that which comes first counts."""


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
) -> str:
    """All that was found, group by group and preview by preview."""
    head = [
        f"run {run.name}: {len(scores)} previews and {images} training images, {card.tagger} {where}"
    ]
    if subject.identity:
        head.append(f"identity tags that the trigger stands for: {', '.join(subject.identity)}")
    head += [f"when to stop: {advice}"] * bool(advice)
    rows = [_preview(one, of) for one, of in scores.items()]
    return "\n".join(
        [
            *head,
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
            known = [reason for reason in _HELP if reason in reasons]
            for reason in [*known, *sorted(reasons.difference(known))][:1]:
                helps = f" ({_HELP[reason]})" if reason in _HELP else ""
                yield f"{name} is absent: {reason}{helps}"


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
    for what, tags in (
        ("not shown", scores.missing),
        ("forgotten", scores.forgotten),
        ("leaked", scores.leaked),
    ):
        if tags:
            more = " …" * (len(tags) > _SHOWN_TAGS)
            parts.append(f"{what}: {', '.join(tags[:_SHOWN_TAGS])}{more}")
    return f"{name}{' (without the LoRA)' * one.is_base}: {'; '.join(parts)}"
