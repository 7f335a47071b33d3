"""Which images stand out by their losses before and after a training, and what that says of them.

All losses are compared by their ratio, noise by noise: an image with the others, or with itself. So
all images must have been measured with the same noise (`MeasureConfig.shared`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ..curves.students_t import quantile_95

Flag = Literal["never learned", "hard", "odd caption", "memorised"]
FLAGS: tuple[Flag, ...] = get_args(Flag)

LEAST = 8
"""Images: fewer say too little of what is usual among them."""
NEVER_LEARNED, HARD, ODD_CAPTION = 3.5, 3.5, 2.5
"""Spreads of the images that one must be away from their middle to be flagged. Chosen on other seeds than
those that docs/curation.md reports, as all numbers here."""
ALIKE = 0.3
"""Two images are copies if their losses differ by this share of what the nearest ones usually differ by."""

_TO_SPREAD = 1.4826
"""A median of distances from the middle -> the standard deviation, of a normal distribution."""
_LEAST_SPREAD = 1e-3


class Losses(NamedTuple):
    """Of the same images and noise, each [images, timesteps, seeds]."""

    start: Tensor
    """Without the LoRA."""
    last: Tensor
    """With it."""
    start_blank: Tensor
    """Without the LoRA, and with an empty caption in place of the image's own."""
    last_blank: Tensor
    """The same with the LoRA."""


class Verdict(NamedTuple):
    """What is said of one image. ``score``: from 1 on it is flagged; the images are sorted by it."""

    image: int
    flag: Flag | None
    score: float
    reason: str


class _Seen(NamedTuple):
    """Logarithms of ratios. value, error: [images], the mean of its measurements, and the standard error
    of that beside the others, over the noise that all share; middle, spread: of all images."""

    value: Tensor
    error: Tensor
    middle: float
    spread: float
    reach: float
    """Errors to either side that hold 95 %."""

    @classmethod
    def of(cls, ratios: Tensor) -> _Seen:
        rows = ratios.double().log().flatten(1)
        value, beside = rows.mean(1), rows - rows.median(0, keepdim=True).values
        middle = value.median()
        spread = _TO_SPREAD * float((value - middle).abs().median())
        error = beside.std(1) / rows.shape[1] ** 0.5
        return cls(
            value, error, float(middle), max(spread, _LEAST_SPREAD), quantile_95(rows.shape[1] - 1)
        )

    def away(self, image: int) -> float:
        """How far from the middle, in spreads."""
        return (float(self.value[image]) - self.middle) / self.spread

    def ratio(self, image: int) -> str:
        """Of an image, in words; where there are others, with 95 % of where its noise may have put it beside them."""
        ratio = float(self.value[image].exp())
        if len(self.value) < 2:
            return f"{ratio:.0%}"
        half = self.reach * ratio * float(self.error[image])
        digits = 0 if half >= 0.005 else 1
        return f"{ratio:.{digits}%} ± {half:.{digits}%}"

    @property
    def usual(self) -> str:
        """Of the image in the middle."""
        return f"{float(torch.tensor(self.middle).exp()):.0%}"


def judge(losses: Losses, names: Sequence[str], shapes: Sequence[object]) -> list[Verdict]:
    """A verdict on every image, the most striking first.

    names: what an image is called in the reasons; shapes: of images of one shape all had the same noise.

    Fewer than LEAST images cannot be judged by each other: none is flagged.

    Raises:
        ValueError: a loss is not finite.
    """
    for each in losses:
        bad = (~(each.isfinite() & (each > 0)).flatten(1).all(1)).nonzero().flatten().tolist()
        if bad:
            raise ValueError(
                f"The loss of {names[bad[0]]} is no positive number. The MODEL or the LoRA is damaged: "
                "its images would be black."
            )
    found = [[_usual(losses, image)] for image in range(len(names))]
    if len(names) < LEAST:
        return [usual for [usual] in found]
    for verdict in (*_apart(losses), *_copies(losses, names, shapes)):
        found[verdict.image].append(verdict)
    return sorted(map(_joined, found), key=lambda verdict: -verdict.score)


def _joined(found: Sequence[Verdict]) -> Verdict:
    """The strongest of what is said of an image, with the reasons of all that are flagged."""
    best = max(found, key=lambda verdict: verdict.score)
    others = [v.reason for v in found if v is not best and v.score >= 1]
    if best.score < 1:
        return found[0]._replace(score=best.score)
    return best._replace(reason="; ".join([best.reason, *others]))


def _usual(losses: Losses, image: int) -> Verdict:
    fell = _Seen.of(losses.last / losses.start)
    return Verdict(image, None, 0.0, f"nothing found: its loss went to {fell.ratio(image)}")


def _apart(losses: Losses) -> Iterator[Verdict]:
    """What is said of an image by how far it is from the others."""
    went = _Seen.of(losses.last / losses.start)
    left = _Seen.of(losses.last)
    before = _Seen.of(losses.start_blank / losses.start)
    after = _Seen.of(losses.last_blank / losses.last)
    for image in range(len(losses.last)):
        told = (
            f"its loss went to {went.ratio(image)} of what it was, that of others to {went.usual}"
        )
        yield Verdict(image, "never learned", went.away(image) / NEVER_LEARNED, told)
        yield Verdict(image, "memorised", -went.away(image) / NEVER_LEARNED, told)
        above = float((left.value[image] - left.middle).exp())
        error = left.reach * above * float(left.error[image])
        yield Verdict(
            image,
            "hard",
            left.away(image) / HARD,
            f"its loss with the LoRA is {above:.2f} ± {error:.2f} times that of others",
        )
        yield Verdict(
            image,
            "odd caption",
            _odd(before, after, image),
            f"without its caption its loss is {before.ratio(image)} of that with it before the training and "
            f"{after.ratio(image)} after it, that of others {before.usual} and {after.usual}: the caption "
            "does not tell what it shows",
        )


def _odd(before: _Seen, after: _Seen, image: int) -> float:
    """How far a caption helps less than those of others; nothing where these do not help at the end either.

    Before the training the model knows what the words mean; after it, it may have learned a wrong caption.
    """
    if after.middle <= 0:
        return 0.0
    return -(before.away(image) + after.away(image)) / 2**0.5 / ODD_CAPTION


def _copies(losses: Losses, names: Sequence[str], shapes: Sequence[object]) -> Iterator[Verdict]:
    """What is said of an image whose losses are those of an earlier one, noise by noise."""
    rows = torch.cat([losses.start, losses.last], dim=2).double().log().flatten(1)
    apart = (rows[:, None] - rows[None]).abs().mean(2)
    same = torch.tensor([[a == b for b in shapes] for a in shapes])
    apart = apart.masked_fill(~same | torch.eye(len(rows), dtype=torch.bool), torch.inf)
    usual = float(apart.min(1).values.median())
    for image in range(1, len(rows)):
        nearest = int(apart[image, :image].argmin())
        distance = float(apart[image, nearest])
        if distance < usual:
            yield Verdict(
                image,
                "memorised",
                min(ALIKE * usual / max(distance, _LEAST_SPREAD * usual), 10.0),
                f"its losses differ from those of {names[nearest]} by {distance:.1%}, noise by noise, before "
                f"and after (the nearest of others by {usual:.1%}): they are copies, trained on twice as often",
            )
