"""Reading a tagger's list of tags: CSV, the JSON files of several authors, or plain lines."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...base.small_file import parse_json, read_small
from .labels import CATEGORIES, Category, Kind, Label, Labels
from .tag_extras import csv_limits, csv_series, read_limits, read_series

_MOST_BYTES = 1 << 26
_DIGITS = 6  # of a place among the outputs: a damaged file shall not ask for gigabytes
_SHOWN = 60  # characters of an entry in a message

RATINGS = frozenset({"general", "sensitive", "questionable", "explicit"})
"""The ratings as SmilingWolf's and cl_tagger's lists spell them."""
_QUALITIES = frozenset(f"{which} quality" for which in ("best", "high", "normal", "medium"))

# Danbooru's numbers with what taggers add: 9 for ratings, 10 for Camie's years.
_DANBOORU: dict[str, Category] = {
    "0": "general", "1": "artist", "3": "copyright", "4": "character", "5": "meta", "9": "rating",
    "10": "meta",
}  # fmt: skip
# e621 means something else by 5, a species, and has 7 for meta and 8 for lore.
_E621: dict[str, Category | None] = {
    "0": "general", "1": "artist", "3": "copyright", "4": "character", "5": "general", "6": None,
    "7": "meta", "8": "meta", "9": "rating",
}  # fmt: skip
_E621_FILE, _SPECIES, _E621_ONLY = "tags-selected.csv", "5", {"7", "8"}
_NAMES: dict[str, Category] = {
    **{name: name for name in CATEGORIES}, "year": "meta", "style": "artist", "species": "general",
}  # fmt: skip


def read_labels(path: str | Path) -> Labels:
    """The labels in output order, with what lies beside the list; ValueError says what is wrong where."""
    path = Path(path)
    try:
        text = read_small(path, _MOST_BYTES).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read the tag list {path}: {error}; download it again") from error
    read = {".json": _read_json, ".txt": _read_lines}.get(path.suffix.lower(), _read_csv)
    labels = dataclasses.replace(read(text, path), path=path)
    if not labels.entries:
        raise ValueError(f"{path} lists no tags; download it again")
    series = labels.series or read_series(path, labels)
    limits = read_limits(path, labels) if labels.limits is None else labels.limits
    return dataclasses.replace(labels, series=series, limits=limits)


def _read_csv(text: str, path: Path) -> Labels:
    try:
        rows = list(csv.reader(text.splitlines()))
    except csv.Error as error:
        raise ValueError(f"{path} is no tag list: {error}; download it again") from error
    if not rows or "name" not in rows[0] or "category" not in rows[0]:
        raise ValueError(
            f"{path} is no WD14 tag list: its first line must name the columns name and category, "
            f"got {rows[0] if rows else 'an empty file'}; take the selected_tags.csv that came with the model"
        )
    columns = {name: place for place, name in enumerate(rows[0])}
    lines = [(number, row) for number, row in enumerate(rows[1:], 2) if row]
    numbers = {row[columns["category"]] for _, row in lines if len(row) > columns["category"]}
    is_e621 = path.name == _E621_FILE or (_SPECIES in numbers and bool(numbers & _E621_ONLY))
    known = _E621 if is_e621 else _DANBOORU
    entries = tuple(_csv_label(row, columns, known, f"{path} line {i}") for i, row in lines)
    kind: Kind = "e621" if is_e621 else "pixai" if "ips" in columns else "danbooru"
    table = [row for _, row in lines]
    series, limits = csv_series(table, columns, path), csv_limits(table, columns)
    return Labels(entries, "csv", kind, series=series, limits=limits)


def _csv_label(
    row: list[str], columns: Mapping[str, int], known: Mapping[str, Category | None], place: str
) -> Label:
    name, category = columns["name"], columns["category"]
    if len(row) <= max(name, category) or row[category] not in known:
        raise ValueError(
            f"{place}: {row} has no category among {', '.join(known)}; the file is damaged or "
            "belongs to another family of taggers"
        )
    return Label(row[name], known[row[category]])


def _read_json(text: str, path: Path) -> Labels:
    try:
        found = parse_json(text)
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}; download it again") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} is no tag mapping: it must be an object; download it again")
    nested = _value(_value(found, "dataset_info"), "tag_mapping")
    if nested is not None:
        return Labels(_indexed(nested, path), "json", "camie 2")
    if _value(found, "idx_to_tag") is not None:
        entries = _indexed(found, path)
        return Labels(entries, "json", _indexed_kind(entries, found, path))
    if _value(found, "tag_map") is not None:
        return Labels(_split(found, path), "json", "pixai")
    flat = dict(_flat_label(key, entry, path) for key, entry in found.items())
    return Labels(_placed(flat), "json", "mapping")


def _value(found: Any, name: str) -> Any:
    """A value of an object by its name, which some versions write behind a path."""
    if not isinstance(found, dict):
        return None
    return next((v for k, v in found.items() if k == name or k.endswith(f"/{name}")), None)


def _flat_label(key: str, entry: Any, path: Path) -> tuple[int, Label]:
    """cl_tagger 1: `{"0": {"tag": ..., "category": ...}, ...}`, the keys being places among the outputs."""
    fields = entry if isinstance(entry, dict) else {}
    tag, category = fields.get("tag"), str(fields.get("category"))
    if not _is_place(key) or not isinstance(tag, str) or category.lower() not in CATEGORIES:
        raise ValueError(
            f"{path}, entry {key!r}: {str(entry)[:_SHOWN]} needs a number as its name, a tag, and a category "
            f"among {', '.join(name.capitalize() for name in CATEGORIES)}; the file is damaged or of another kind"
        )
    return int(key), Label(tag, _NAMES[category.lower()])


def _indexed(found: Any, path: Path) -> tuple[Label, ...]:
    """Camie, cl_tagger 2 and some copies of 1: `idx_to_tag` by place, `tag_to_category` by tag."""
    tags, categories = _value(found, "idx_to_tag"), _value(found, "tag_to_category")
    if isinstance(tags, list):
        tags = {str(place): tag for place, tag in enumerate(tags)}
    if not isinstance(tags, dict) or not isinstance(categories, dict):
        raise ValueError(
            f"{path} needs idx_to_tag and tag_to_category, each an object; the file is damaged or "
            "of another kind"
        )
    entries: dict[int, Label] = {}
    for key, tag in tags.items():
        if not _is_place(key) or not isinstance(tag, str):
            raise ValueError(
                f"{path}, idx_to_tag, entry {key!r}: {str(tag)[:_SHOWN]} needs a number as its name "
                "and a tag; the file is damaged or of another kind"
            )
        entries[int(key)] = Label(tag, _named_category(tag, categories.get(tag)))
    if not any(label.category == "general" for label in entries.values()):
        raise ValueError(f"{path} has no tag of the category general; it belongs to another kind")
    return _placed(entries)


def _named_category(tag: str, category: object) -> Category | None:
    """By its word; ratings and qualities by the tag too, which cl_tagger 2 puts among others."""
    plain = tag.strip().lower().replace("_", " ")
    if plain in RATINGS:
        return "rating"
    return "quality" if plain in _QUALITIES else _NAMES.get(str(category).lower())


def _indexed_kind(entries: Sequence[Label], found: Mapping[str, Any], path: Path) -> Kind:
    years = "year" in (_value(found, "tag_to_category") or {}).values()
    if years or any(label.name.startswith("rating_") for label in entries):
        return "camie 1"
    return "vocabulary" if "vocabulary" in path.name else "mapping"


def _split(found: Mapping[str, Any], path: Path) -> tuple[Label, ...]:
    """PixAI's own list: `tag_map` from tag to place, general tags first, then characters."""
    tags, split = found.get("tag_map"), found.get("tag_split")
    count = split.get("gen_tag_count") if isinstance(split, dict) else None
    if (
        not isinstance(count, int)
        or not isinstance(tags, dict)
        or not all(isinstance(place, int) and _is_place(str(place)) for place in tags.values())
    ):
        raise ValueError(
            f"{path} needs tag_map with a place for each tag, and tag_split with gen_tag_count; "
            "the file is damaged or of another kind"
        )
    kinds: tuple[Category, Category] = ("general", "character")
    return _placed({place: Label(tag, kinds[place >= count]) for tag, place in tags.items()})


def _read_lines(text: str, path: Path) -> Labels:
    """JoyTag's `top_tags.txt` and DeepDanbooru's `tags.txt`: a tag a line, without categories."""
    tags = [line.strip() for line in text.splitlines() if line.strip()]
    return Labels(
        tuple(Label(tag, "rating" if tag.startswith("rating:") else "general") for tag in tags),
        "txt",
        "plain",
    )


def _is_place(key: str) -> bool:
    return key.isdecimal() and len(key) <= _DIGITS


def _placed(found: Mapping[int, Label]) -> tuple[Label, ...]:
    """By place; an output that the list leaves out has no name."""
    return tuple(found.get(i, Label("", None)) for i in range(max(found, default=-1) + 1))
