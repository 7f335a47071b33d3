"""Rules on the captions of a dataset, whole tags only; filtering twice equals filtering once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .captions import SEPARATOR, join_tags, split_tags, tag_key, tag_match
from .report import Change, Report


@dataclass(frozen=True)
class FilterOptions:
    """What becomes of the tags; ValueError at construction lists everything wrong at once.

    Order: replace, remove, drop duplicates, `keep_first` to the front, rare tags dropped, the rest
    cut to `maximum_tags`, and the trigger before all. `*` in a removed or replaced tag stands for
    any text. The trigger is never replaced, removed or dropped; `keep_first` tags are never rare.
    """

    trigger: str = ""
    remove: tuple[str, ...] = ()
    replace: tuple[tuple[str, str], ...] = ()
    keep_first: tuple[str, ...] = ()
    drop_duplicates: bool = True
    minimum_count: int = 1
    maximum_tags: int | None = None
    separator: str = SEPARATOR

    def __post_init__(self) -> None:
        problems = []
        for name in ("remove", "keep_first"):
            tags = getattr(self, name)
            if isinstance(tags, str):
                problems.append(f"{name} is one text, a tuple of tags is needed")
            elif any(not tag.strip() for tag in tags):
                problems.append(f"{name} holds an empty tag, take it out")
        if not self.separator:
            problems.append('separator is empty, give one such as ", "')
        else:
            problems += _replace_problems(self.replace, self.separator)
        if self.minimum_count < 1:
            problems.append(f"minimum_count is {self.minimum_count}, allowed: 1 (all tags) or more")
        least = len(split_tags(self.trigger, self.separator or SEPARATOR)) or 1
        if self.maximum_tags is not None and self.maximum_tags < least:
            problems.append(
                f"maximum_tags is {self.maximum_tags}, allowed: {least} or more, or None"
            )
        if problems:
            raise ValueError("filter options: " + "; ".join(problems))


def filter_captions(
    captions: Sequence[str], options: FilterOptions, names: Sequence[str] | None = None
) -> tuple[list[str], Report]:
    """The captions after the rules, and a report that calls them by `names` (else by number)."""
    if names is not None and len(names) != len(captions):
        raise ValueError(f"{len(names)} names for {len(captions)} captions; give one for each")
    trigger = split_tags(options.trigger, options.separator)
    before = [split_tags(caption, options.separator) for caption in captions]
    bodies = _common([_rewrite(tags, options) for tags in before], options, len(trigger))
    after = [[*trigger, *tags] for tags in bodies]
    texts = [join_tags(tags, options.separator) for tags in after]
    changes = tuple(
        Change(names[i] if names else f"#{i + 1}", caption, text)
        for i, (caption, text) in enumerate(zip(captions, texts, strict=True))
        if caption != text
    )
    old, new = _count(before), _count(after)
    return texts, Report(len(captions), changes, old - new, new - old)


def _rewrite(tags: Sequence[str], options: FilterOptions) -> list[str]:
    """One caption by the rules that need no other caption, without the trigger."""
    trigger = {tag_key(tag) for tag in split_tags(options.trigger, options.separator)}
    removed = [tag_match(pattern) for pattern in options.remove]
    replaced = [(tag_match(source), target.strip()) for source, target in options.replace]
    kept: list[str] = []
    for tag in tags:
        if tag_key(tag) not in trigger:
            tag = next((target for matches, target in replaced if matches(tag)), tag)
        if tag_key(tag) not in trigger and not any(matches(tag) for matches in removed):
            kept.append(tag)
    if options.drop_duplicates:
        kept = _unique(kept)
    places = _places(options.keep_first)
    return sorted(kept, key=lambda tag: places.get(tag_key(tag), len(places)))


def _common(bodies: list[list[str]], options: FilterOptions, reserved: int) -> list[list[str]]:
    """Drop rare tags and cut long captions until neither changes anything.

    Cutting can make a tag rare, so once is not enough for filtering twice to equal once.
    """
    room = None if options.maximum_tags is None else options.maximum_tags - reserved
    protected = _places(options.keep_first)
    while True:
        counts = Counter(key for tags in bodies for key in {tag_key(tag) for tag in tags})

        def stays(tag: str, counts: Counter[str] = counts) -> bool:
            return tag_key(tag) in protected or counts[tag_key(tag)] >= options.minimum_count

        kept = [[tag for tag in tags if stays(tag)][:room] for tags in bodies]
        if kept == bodies:
            return kept
        bodies = kept


def _places(tags: Sequence[str]) -> dict[str, int]:
    """Rank of each tag, the first mention counting."""
    return {tag_key(tag): place for place, tag in reversed(list(enumerate(tags)))}


def _unique(tags: Sequence[str]) -> list[str]:
    """The tags without repetitions, the first spelling staying."""
    first: dict[str, str] = {}
    for tag in tags:
        first.setdefault(tag_key(tag), tag)
    return list(first.values())


def _count(captions: Sequence[Sequence[str]]) -> Counter[str]:
    return Counter(tag for tags in captions for tag in tags)


def _replace_problems(pairs: Sequence[tuple[str, str]], separator: str) -> list[str]:
    """Pairs that are no pairs, and chains, whose second run would not equal the first."""
    problems = []
    sound: list[tuple[Callable[[str], bool], str, str]] = []
    for pair in pairs:
        if len(pair) != 2 or not pair[0].strip() or len(split_tags(pair[1], separator)) != 1:
            problems.append(
                f"replace {pair} needs a tag and one tag to put there; use remove to drop"
            )
        else:
            sound.append((tag_match(pair[0]), *pair))
    for _, source, target in sound:
        again = next((other for matches, _, other in sound if matches(target)), target)
        if again != target:
            problems.append(
                f"replace {source!r} by {target!r}, which another rule replaces by {again!r}; "
                "write the last target in both"
            )
    return problems
