"""Tags that a longer tag of the same caption says already: `shirt` beside `white shirt`.

The rule is the English head: the shorter tag must be the last whole words of the longer one. So
`white shirt` covers `shirt` and `very long hair` covers `long hair` and `hair`, but `dress shirt`
does not cover `dress`. What looks alike and means something else is listed here. A tag that stays
costs a few tokens, one that goes wrongly costs information: in doubt, both stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from .tag_text import split_tags, tag_key

# With one of these the last words are no head but an object or a place: arms behind back.
_PREPOSITIONS = frozenset(
    split_tags(
        "about, above, across, against, around, as, at, behind, below, between, by, from, in, "
        "inside, into, of, off, on, onto, out, over, past, through, to, under, up, with, without"
    )
)
# First words that turn the thing into an absence, an image of it, or something done with it.
_NOT_THE_THING = frozenset(
    split_tags(
        "after, alternate, broken, cartoon, empty, fake, finger, implied, imitating, imminent, no, "
        "non, not, pretend, spoken, stuffed, team, toy, unworn, virtual, adjusting, applying, "
        "arched, biting, blowing, brushing, cleaning, covering, drawing, grabbing, kissing, "
        "leaning, licking, lifting, looking, opening, pulling, removing, rubbing, soaking, "
        "squeezing, sucking, touching, tying, untying, wiping"
    )
)
# Heads that mean something else alone: sailor collar, valentine's day, character profile.
_OTHER_ALONE = frozenset(
    split_tags(
        "back, bone, bubble, collar, cream, day, drill, light, lock, profile, sandwich, split"
    )
)
# Longer tags whose head is right, but which are another kind of thing.
_ANOTHER_THING = frozenset(
    split_tags(
        "abyssal ship, clitoral hood, fourth wall, hot dog, mobile suit, monster energy, "
        "neck ring, rubber duck, single hair ring, swim ring, teddy bear, vaulting horse, wrestling ring, zero suit"
    )
)

_MOST_WORDS = (
    20  # of a tag; longer ones are no tags, and each of their ends would be a text of its own
)


@lru_cache(maxsize=1 << 16)  # as tag_key
def covered_by(tag: str) -> tuple[str, ...]:
    """The shorter tags, as `tag_key` spells them, that a caption with this tag need not say."""
    key = tag_key(tag)
    words = key.split(" ", _MOST_WORDS)
    if (
        len(words) > _MOST_WORDS
        or words[0] in _NOT_THE_THING
        or key in _ANOTHER_THING
        or not _PREPOSITIONS.isdisjoint(words)
    ):
        return ()
    tails = (" ".join(words[start:]) for start in range(1, len(words)))
    return tuple(tail for tail in tails if tail not in _OTHER_ALONE)


def redundant(tags: Iterable[str]) -> frozenset[str]:
    """The `tag_key`s among the tags that a longer one covers."""
    tags = list(tags)
    covered = {short for tag in tags for short in covered_by(tag)}
    return frozenset(covered & {tag_key(tag) for tag in tags})
