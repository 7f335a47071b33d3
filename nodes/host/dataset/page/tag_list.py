"""The tags that a tagger knows, for the page to complete what is typed."""

from __future__ import annotations

from pathlib import Path

from .....tagger import find_local, local_names, read_labels, spaced
from ...folders import tagger_folders
from ..tagger_session import REGISTRY

_SHOWN = ("general", "character")


def tagger_tags() -> list[str]:
    """Those of the tagger that is loaded, else of the first in the taggers' folders; none without any.

    Raises:
        ValueError: the list of that tagger is damaged.
    """
    labels = REGISTRY.labels
    if labels is None:
        path = _first_list()
        labels = read_labels(path) if path else None
    entries = labels.entries if labels else ()
    return [spaced(label.name) for label in entries if label.category in _SHOWN]


def _first_list() -> Path | None:
    for folder in tagger_folders():
        for name in local_names(folder):
            if files := find_local(folder, name):
                return files.tags
    return None
