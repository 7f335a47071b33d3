"""Replay of ``tagger/``: images as the tagger reads them, and captions by the script's options."""

import argparse
import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from ..tagger import Labels, count_tags, merge, prepare, read_labels, select
from ..tagger.wd14.families import WD
from ..trainer.dataset.images import stored_size
from .case import Case, Unsupported, largest
from .tagger_options import parse_arguments, tag_options

_MEAN_BOUND = 1e-3
_ROW_KEYS = {"file", "mode", "size", "interpolation"} | {
    "shape", "dtype", "sha256_float32", "mean_bgr", "min", "max", "corner_bgr",
}  # fmt: skip
_CASE_KEYS = {"args", "existing_files", "caption_files", "content", "frequency_stdout", "error"} | {
    "error_in_unpatched_script"
}
_BLOCK = 16

Written = dict[str, Any]
"""By image, its name without ending: its caption file's text, or [caption, size] in a metadata file."""


class Recording(NamedTuple):
    """What all cases share. ``inside``: the images that a run without ``--recursive`` sees."""

    images: Mapping[str, Path]
    labels: Labels
    probabilities: Mapping[str, np.ndarray]
    inside: frozenset[str]


def cases(folder: Path) -> Iterator[Case | Unsupported]:
    """A case per image and recorded quantity, then per run of the script; errors count differences.

    Raises:
        FileNotFoundError: a file of the recording is missing.
        Unsupported: a quantity of an image is not known, or the labels are of the other layout.
    """
    home = folder / "tagger"
    yield from _preprocess_cases(home)
    recorded = json.loads((home / "tagging.json").read_text(encoding="utf-8"))
    recording = _recording(home, recorded)
    for name, case in recorded["cases"].items():
        try:
            yield from _run_cases(name, case, recording)
        except Unsupported as missing:
            yield missing


def _preprocess_cases(home: Path) -> Iterator[Case]:
    rows = json.loads((home / "preprocess.json").read_text(encoding="utf-8"))["rows"]
    with np.load(home / "preprocess.npz") as archive:
        stored = {key: archive[key] for key in archive.files}
    for row in rows:
        file = row["file"]
        if unknown := row.keys() - _ROW_KEYS:
            raise Unsupported(f"tagger {file}: recorded quantity {min(unknown)}")
        tensor = WD.feed([prepare(home / "images" / file, kohya=True)])[0]
        yield Case(f"{file} tensor", _tensor_error(tensor, row), 0.0)
        yield Case(f"{file} statistics", _statistics_error(tensor, row), _MEAN_BOUND)
        for key in sorted(key for key in stored if key.rpartition(".")[0] == file):
            kind = key.rpartition(".")[2]
            if kind == "full_uint8":
                yield Case(f"{file} {kind}", _distance(tensor, stored[key]), 0.0)
            elif kind == f"block{_BLOCK}":
                yield Case(f"{file} {kind}", _distance(_blocks(tensor), stored[key]), _MEAN_BOUND)
            else:
                raise Unsupported(f"tagger {file}: recorded quantity {kind}")


def _tensor_error(tensor: np.ndarray, row: Mapping[str, Any]) -> float:
    """0 if shape, type and every bit are as recorded, else infinity."""
    same = [
        list(tensor.shape) == row["shape"],
        str(tensor.dtype) == row["dtype"],
        hashlib.sha256(tensor.tobytes()).hexdigest() == row["sha256_float32"],
    ]
    return 0.0 if all(same) else math.inf


def _statistics_error(tensor: np.ndarray, row: Mapping[str, Any]) -> float:
    made = {
        "mean_bgr": tensor.mean(axis=(0, 1)),
        "min": tensor.min(),
        "max": tensor.max(),
        "corner_bgr": tensor[0, 0],
    }
    return largest(_distance(np.asarray(made[key]), row[key]) for key in made if key in row)


def _blocks(tensor: np.ndarray) -> np.ndarray:
    rows, columns = tensor.shape[0] // _BLOCK, tensor.shape[1] // _BLOCK
    return tensor.reshape(rows, _BLOCK, columns, _BLOCK, -1).mean(axis=(1, 3))


def _distance(made: np.ndarray, expected: Any) -> float:
    expected = np.asarray(expected, np.float64)
    if made.shape != expected.shape:
        return math.inf
    return float(np.abs(made.astype(np.float64) - expected).max(initial=0.0))


def _recording(home: Path, recorded: Mapping[str, Any]) -> Recording:
    lists = sorted((home / "model").rglob("selected_tags.csv"))
    if len(lists) != 1:
        raise Unsupported(f"tagger: {len(lists)} files named selected_tags.csv below tagger/model")
    inside: set[str] = set()
    for case in recorded["cases"].values():
        with suppress(Unsupported):  # told when its turn comes
            arguments = parse_arguments(case["args"])
            if not arguments.recursive:
                inside |= _written(case, arguments).keys()
    return Recording(
        {_stem(name): home / "images" / name for name in recorded["images"]},
        read_labels(lists[0]),
        {_stem(name): np.array(row, np.float32) for name, row in recorded["probs"].items()},
        frozenset(inside),
    )


def _run_cases(name: str, case: Mapping[str, Any], recording: Recording) -> Iterator[Case]:
    """The captions of one run of the script, and the tag frequencies that it printed."""
    if unknown := case.keys() - _CASE_KEYS:
        raise Unsupported(f"tagger {name}: recorded quantity {min(unknown)}")
    arguments = parse_arguments(case["args"])
    failed = case.get("error")
    try:
        options = tag_options(arguments)
    except ValueError as error:
        if failed is None:
            raise Unsupported(f"tagger {name}: {error}") from error
        yield Case(f"{name} is refused", 0.0, 0.0)
        return
    if failed is not None:
        raise Unsupported(f"tagger {name}: the script failed with {failed}")
    tags = {
        picture: [tag.name for tag in select(row, recording.labels, options)]
        for picture, row in recording.probabilities.items()
        if arguments.recursive or picture in recording.inside
    }
    made, expected = _made(tags, arguments, case, recording), _written(case, arguments)
    differing = [p for p in made.keys() | expected.keys() if made.get(p) != expected.get(p)]
    yield Case(f"{name} captions", float(len(differing)), 0.0)
    if case.get("frequency_stdout") is not None:
        lines = [f"{tag}: {count}" for tag, count in count_tags(tags.values())]
        yield Case(f"{name} frequencies", _unlike(lines, case["frequency_stdout"]), 0.0)


def _made(
    tags: Mapping[str, Sequence[str]],
    arguments: argparse.Namespace,
    case: Mapping[str, Any],
    recording: Recording,
) -> Written:
    """What we would write for the images of a case."""
    made: Written = {}
    for picture, names in tags.items():
        existing = case.get("existing_files", {}).get(picture + arguments.caption_extension, "")
        policy = "append" if arguments.append_tags else "replace"
        caption = merge(existing, names, policy, arguments.caption_separator, kohya=True)
        if arguments.output_path:
            made[picture] = [caption, [*stored_size(recording.images[picture])]]
        else:
            made[picture] = caption + "\n"
    return made


def _written(case: Mapping[str, Any], arguments: argparse.Namespace) -> Written:
    """What the script wrote in a case."""
    if arguments.output_path.endswith(".jsonl"):
        entries = [json.loads(line) for line in case["content"].splitlines()]
        return {_stem(e["image_path"]): [e["caption"], e["image_size"]] for e in entries}
    if arguments.output_path:
        table = json.loads(case["content"])
        return {_stem(path): [e["tags"], e["image_size"]] for path, e in table.items()}
    return {
        PurePosixPath(file).name.removesuffix(arguments.caption_extension): text
        for file, text in case["caption_files"].items()
    }


def _stem(path: str) -> str:
    return PurePosixPath(path).stem


def _unlike(made: Sequence[str], expected: Sequence[str]) -> float:
    """Lines that only one side has, and places where the counts differ; ties may stand either way."""
    ours, theirs = Counter(made), Counter(expected)
    lines = ((ours - theirs) + (theirs - ours)).total()
    counts = [[line.rpartition(": ")[2] for line in side] for side in (made, expected)]
    return float(lines + sum(a != b for a, b in zip(*counts, strict=False)))
