"""The text that a training step sees of a caption: kohya's rules, as a pure function of its random draws."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ...base.caption_reader import read_line
from ..config.captions import CaptionConfig

_BRACES = re.compile(r"(\{\{|\}\}|\{|\})")


class Draws(Protocol):
    """What is used of ``random.Random``."""

    def random(self) -> float: ...
    def choice(self, options: Any, /) -> Any: ...
    def shuffle(self, items: Any, /) -> None: ...


def shown_caption(
    caption: str,
    options: CaptionConfig,
    draws: Draws,
    *,
    epoch: int,
    step: int = 0,
    steps: int = 0,
    shares: Mapping[str, float] | None = None,
) -> str:
    """The text of one sample. ``epoch`` counts from 1, ``step`` from 0, of ``steps`` in all.

    ``shares``: by `share_key` how often a tag stands beside the trigger, 0 to 1, for frequent_dropout.
    The order of draws is kohya's: dropout, line, wildcards, shuffle, dropout of each tag. What kohya does
    not have comes before (pick_line) and after (frequent_dropout).
    """
    if options.pick_line and "\n" in caption:
        caption = draws.choice(caption.split("\n"))
    caption = f"{options.prefix} {caption}" if options.prefix else caption
    caption = f"{caption} {options.suffix}" if options.suffix else caption
    dropped = options.dropout > 0 and draws.random() < options.dropout
    every = options.dropout_every_n_epochs
    if dropped or (every > 0 and epoch % every == 0):
        return ""
    caption = _filled(caption, draws) if options.wildcards else caption.split("\n")[0]
    moves = options.shuffle or options.tag_dropout > 0 or options.token_warmup_steps > 0
    if moves or options.frequent_dropout > 0:
        caption = _rearranged(caption, options, draws, step, steps, shares or {})
    if options.secondary_separator:
        caption = caption.replace(options.secondary_separator, options.separator)
    return caption


def shown_lines(caption: str, options: CaptionConfig) -> tuple[str, ...]:
    """The lines that uses may show, with prefix and suffix, before wildcards and the dropping of tags.

    None where every caption is dropped.
    """
    if options.dropout >= 1 or options.dropout_every_n_epochs == 1:
        return ()
    found = caption.split("\n")
    if not (options.pick_line or options.wildcards):
        found = found[:1]
    return tuple(" ".join(filter(None, (options.prefix, line, options.suffix))) for line in found)


def _filled(caption: str, draws: Draws) -> str:
    """One line of the caption with its wildcards chosen; ``{{`` and ``}}`` stand for braces.

    One pass, whatever the braces: a wildcard goes from the first that opens to the first that closes
    behind it, unless they enclose nothing.
    """
    if "\n" in caption:
        caption = draws.choice(caption.split("\n"))
    texts: list[str] = []
    start = None  # of the wildcard that is open, in texts
    for piece in _BRACES.split(caption):
        if piece == "}" and start is not None and len(texts) > start + 1:
            texts[start:] = [draws.choice("".join(texts[start + 1 :]).split("|"))]
            start = None
        elif piece:
            if piece == "{":
                start = len(texts) if start is None else start
            elif piece == "}":
                start = None
            texts.append(piece[0] if piece in ("{{", "}}") else piece)
    return "".join(texts)


def share_key(tag: str) -> str:
    """What a tag is counted by: capitals, and underscores for spaces, make no difference."""
    return tag.strip().lower().replace("_", " ")


def free_tags(caption: str, options: CaptionConfig) -> set[str]:
    """The keys of the tags of all lines that may be dropped."""
    lines = caption.split("\n")
    return {share_key(tag) for line in lines for tag in _parts(line, options)[1]} - {""}


def _rearranged(
    caption: str,
    options: CaptionConfig,
    draws: Draws,
    step: int,
    steps: int,
    shares: Mapping[str, float],
) -> str:
    """The caption's tags with those that are free to move warmed up, shuffled and dropped."""
    first, free, last = _parts(caption, options)
    warmup = options.token_warmup_steps
    warmup = math.floor(warmup * steps) if warmup < 1 else warmup
    if warmup and step < warmup:
        least = options.token_warmup_min
        free = free[: math.floor(step * ((len(free) - least) / warmup)) + least]
    if options.shuffle:
        draws.shuffle(free)
    if options.tag_dropout > 0:
        free = [tag for tag in free if draws.random() >= options.tag_dropout]
    if options.frequent_dropout > 0:
        rate = options.frequent_dropout
        free = [tag for tag in free if draws.random() >= rate * shares.get(share_key(tag), 0.0)]
    return options.joined([*first, *free, *last])


def _parts(caption: str, options: CaptionConfig) -> tuple[list[str], list[str], list[str]]:
    """Tags that stay in front, tags that may move, tags that stay at the end."""
    mark = options.keep_tokens_separator
    if mark and mark in caption:
        first, _, rest = caption.partition(mark)
        free, _, last = rest.partition(mark)
        tags = (_split(part, options.separator) for part in (first, free, last))
        first_tags, free_tags, last_tags = ([tag for tag in part if tag] for part in tags)
        return first_tags, free_tags, last_tags
    tags = _split(caption.strip(), options.separator)
    return tags[: options.keep_tokens], tags[options.keep_tokens :], []


def _split(text: str, separator: str) -> list[str]:
    return [tag.strip() for tag in text.split(separator)]


def without_tags(caption: str, tags: Sequence[str], rate: float, draws: Draws) -> str:
    """The caption, each of ``tags`` that it has left out with chance ``rate``; one draw for each.

    Every line is one of its own, and notation stays.
    """
    gone = {tag for tag in tags if draws.random() < rate}
    if not gone:
        return caption
    lines = []
    for text in caption.split("\n"):
        line = read_line(text, ", ")
        kept = [(tag, place) for place, tag in enumerate(line.tags) if tag not in gone]
        lines.append(text if len(kept) == len(line.tags) else line.write(kept))
    return "\n".join(lines)
