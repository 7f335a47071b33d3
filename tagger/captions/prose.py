"""Is a caption a list of tags or written in sentences? Rules on words and punctuation, no model.

A caption counts as prose when a part of it is: tags with sentences behind them are prose too.
"""

from __future__ import annotations

import re

from ...base.caption_reader import spoken
from .tag_text import split_tags

# Words that sentences need and tags do without. (Tags say "own" and "another's" for her and his.)
_STRONG = frozenset(
    split_tags(
        "a, an, is, are, was, were, be, been, being, has, have, had, does, that, which, who, whose, "
        "she, he, it, they, them, her, hers, him, his, its, this, these, those, there"
    )
)
# Words that a long tag may have once: looking to the side, mother and daughter.
_WEAK = frozenset(["the", "and", "with", "while", "as"])
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)]*\s+(?=[\"'“‘(]*[A-Z])|[\r\n]+")
_CJK_ENDS = "。！？"
_SEGMENT_END = re.compile(r"[,;]|:\s")
_WORD = re.compile(r"[^\W\d_](?:[\w'’.-]*\w)?")
_LONGEST_TAG = 4  # words; longer pieces of a written sentence are no tags
_SURELY_LONG = 7  # words that are a sentence even without the words above; no tag has so many
_NO_SENTENCE = re.compile(r"[_()]")  # long_hair blue_eyes, name (series) (costume)
_SHARE = 0.3  # of a caption's words, in pieces that read like sentences


def is_prose(caption: str) -> bool:
    """Whether the caption is written in sentences, wholly or in part; notation is no part of them."""
    caption = spoken(caption)
    sentences = [part.strip() for part in _SENTENCE_END.split(caption)]
    if _has_cjk_sentence(caption) or any(map(_is_sentence, sentences)):
        return True
    pieces = [piece for sentence in sentences for piece in _SEGMENT_END.split(sentence)]
    counted = [(len(words), _weight(piece, words)) for piece in pieces if (words := _words(piece))]
    written = sum(count for count, weight in counted if weight > 1)
    return written > 0 and written / sum(count for count, _ in counted) >= _SHARE


def _has_cjk_sentence(caption: str) -> bool:
    """Whether a sentence ends in a word: an underscore behind it makes the word a tag."""
    if not any(map(caption.__contains__, _CJK_ENDS)):
        return False
    ends = ((word, max(map(word.rfind, _CJK_ENDS))) for word in caption.split())
    return any(end >= 0 and end > word.rfind("_") for word, end in ends)


def _is_sentence(text: str) -> bool:
    """It begins with a capital, ends with a full stop, and has words that make sentences."""
    text = text.strip("\"'“”‘’() ")
    if not text[:1].isupper() or text[-1:] not in (".", "!", "?"):
        return False
    pieces = [(piece, _words(piece)) for piece in _SEGMENT_END.split(text)]
    return any(len(words) > _LONGEST_TAG or _weight(piece, words) for piece, words in pieces)


def _weight(piece: str, words: list[str]) -> int:
    """How much a piece between commas reads like a sentence; from 2 on it does."""
    if len(words) < 3:
        return 0
    surplus = 0 if _NO_SENTENCE.search(piece) else len(words) - _SURELY_LONG + 2
    return min(2, max(0, surplus)) + sum(2 * (word in _STRONG) + (word in _WEAK) for word in words)


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]
