"""Rules on the captions of a dataset, whole tags only; filtering twice equals filtering once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from typing import NamedTuple

from ...base.caption_reader import read_line
from .filter_config import FilterConfig
from .redundancy import covered_by, redundant
from .report import Report, compare
from .rewriting import Body, Kept, Placed, Rewriter
from .tag_text import tag_key


class Filtered(NamedTuple):
    """The captions after the rules, what was done, and where each tag of each caption comes from."""

    captions: list[str]
    report: Report
    kept: list[list[Kept]]


def filter_captions(
    captions: Sequence[str],
    config: FilterConfig,
    names: Sequence[str] | None = None,
    categories: Sequence[Mapping[str, str]] | None = None,
    on_caption: Callable[[], None] | None = None,
) -> Filtered:
    """Apply the rules to all captions together; the report calls them by `names` (else by number).

    The rules hold for each line of a caption by itself. `categories` has the kinds of each caption's
    tags by `tag_key`; a tag that is not there has none and is never dropped for it. `on_caption` is
    called before each caption and may raise.
    """
    names = names or [f"#{place + 1}" for place in range(len(captions))]
    categories = categories or [{}] * len(captions)
    if not len(names) == len(categories) == len(captions):
        raise ValueError(
            f"{len(names)} names and {len(categories)} lists of categories for {len(captions)} "
            "captions; give one for each"
        )
    rewriter, separator = Rewriter(config), config.separator
    owners: list[int] = []
    read: list[Body] = []
    prose: dict[int, str] = {}
    before: Counter[str] = Counter()
    for owner, caption in enumerate(captions):
        if on_caption is not None:
            on_caption()
        rewriter.start_caption()
        for line in list(filter(str.strip, caption.split("\n"))) or [""]:
            text = rewriter.prose(line) if config.spare_prose else None
            if text is None:
                read.append(rewriter.body(line, categories[owner]))
                before.update(read[-1].line.tags)
            else:
                prose[len(read)] = text
                before.update(read_line(line, separator).tags)
                spared = read_line(text, separator)
                read.append(Body([Placed(tag, tag) for tag in spared.tags], spared))
            owners.append(owner)
    bodies = _common([body.kept for body in read], owners, prose.keys(), config, rewriter)
    trigger = [Kept(tag, tag) for tag in rewriter.trigger]
    texts: list[list[str]] = [[] for _ in captions]
    kept: list[list[Kept]] = [[] for _ in captions]
    for place, (owner, body) in enumerate(zip(owners, bodies, strict=True)):
        kept[owner] += [] if place in prose else trigger
        kept[owner] += [Kept(item.tag, item.source) for item in body]
        shown = read[place]._replace(kept=body)
        text = prose.get(place) or shown.text(rewriter.trigger, rewriter.trigger_keys)
        texts[owner].append(text)
    changed = ["\n".join(filter(None, lines)) for lines in texts]
    report = compare(names, captions, changed, separator, len(prose), before)
    return Filtered(changed, report, kept)


def _common(
    bodies: list[list[Placed]],
    owners: Sequence[int],
    spared: Container[int],
    config: FilterConfig,
    rewriter: Rewriter,
) -> list[list[Placed]]:
    """Drop rare tags, fold redundant ones and cut long captions until nothing changes.

    A tag counts once for each owner. Folding and cutting can make a tag rare, so once is not enough
    for filtering twice to equal once. Spared captions are counted and otherwise left alone.
    """
    room = None
    if config.maximum_tags is not None:
        room = config.maximum_tags - len(rewriter.trigger)
    while True:
        found = {
            (owner, tag_key(item.tag))
            for owner, body in zip(owners, bodies, strict=True)
            for item in body
        }
        counts = Counter(key for _, key in found)
        common = {key for key, count in counts.items() if count >= config.minimum_count}
        common |= rewriter.places.keys()
        kept = []
        for place, body in enumerate(bodies):
            if place not in spared:
                body = [item for item in body if tag_key(item.tag) in common]
                if config.fold_redundant:
                    sure = [item.tag for item in body if item.choice < 0]
                    gone = (redundant(sure) | _said_by_choices(body)) - rewriter.places.keys()
                    body = [i for i in body if i.choice >= 0 or tag_key(i.tag) not in gone]
                body = body if room is None else _first(body, room)
            kept.append(body)
        if kept == bodies:
            return kept
        bodies = kept


def _said_by_choices(body: list[Placed]) -> set[str]:
    """The `tag_key`s that each choice of some wildcard covers."""
    covered: dict[int, set[str]] = {}
    for item in body:
        if item.choice >= 0:
            keys = set(covered_by(item.tag))
            covered[item.choice] = covered.get(item.choice, keys) & keys
    return set().union(*covered.values())


def _first(body: list[Placed], room: int) -> list[Placed]:
    """So many tags from the front, the choices of a wildcard counted as one."""
    kept: list[Placed] = []
    seen: set[int] = set()
    for item in body:
        if item.choice not in seen:
            if room <= 0:
                continue
            room -= 1
            seen |= {item.choice} if item.choice >= 0 else set()
        kept.append(item)
    return kept
