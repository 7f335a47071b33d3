"""What the page asks to save: checked against what was read, then written by the code of Save Captions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from .....base.shortened import in_sentence
from .....trainer.dataset.caption_files import read_caption
from .....trainer.dataset.changed_captions import changed_captions
from .....trainer.dataset.choices import (
    Choice,
    by_folder,
    check_no_link,
    check_weight,
    read_all,
    write_choices,
)
from .....trainer.dataset.dataset import Dataset, Sample
from .....trainer.dataset.file_names import CHOICES
from ...allowed_folders import check_allowed
from ...web.routes import Refused
from ..save_captions import save_captions
from .seen import SEEN, SeenDataset, tell, with_saved

LONGEST_CAPTION = 100_000
"""Characters."""

_TOLD_EVERY = 0.5  # seconds
_PAGE = "LoRA Loop's Dataset page"
_saving = threading.Lock()


class Edits(NamedTuple):
    """What a person changed, by the path of the image."""

    captions: dict[Path, str]
    choices: dict[Path, Choice]


def parse_edits(asked: Mapping[str, Any], seen: SeenDataset) -> Edits:
    """The edits of a request: {"captions": {key: text}, "choices": {key: {"left_out", "weight"}}}.

    Raises:
        ValueError: a part of it is of another kind, names no image of the dataset, or is out of bounds.
    """
    edits = Edits({}, {})
    for part in ("captions", "choices"):
        if not isinstance(asked.get(part, {}), dict):
            raise ValueError(f"{part} must be an object, with the key of an image for each value.")
    for key, text in asked.get("captions", {}).items():
        if not isinstance(text, str) or len(text) > LONGEST_CAPTION or "\0" in text:
            raise ValueError(
                f"A caption is a text of at most {LONGEST_CAPTION} characters without zero bytes."
            )
        edits.captions[_sample(seen, key).path] = text
    for key, choice in asked.get("choices", {}).items():
        if not isinstance(choice, dict) or not isinstance(choice.get("left_out"), bool):
            raise ValueError('A choice is {"left_out": true or false, "weight": number}.')
        weight = check_weight(choice.get("weight"))
        edits.choices[_sample(seen, key).path] = Choice(choice["left_out"], weight)
    return edits


def _sample(seen: SeenDataset, key: str) -> Sample:
    shown = seen.images.get(key)
    if shown is None:
        raise ValueError("An image is not part of this dataset any more. Read it again.")
    return shown.sample


def save_edits(seen: SeenDataset, edits: Edits, page: str | None) -> tuple[SeenDataset, str]:
    """Write captions and choices that differ; the dataset as it is then, and a report.

    ``page``: the id of the page to ask where a folder is not allowed yet.

    Raises:
        Refused: files changed since they were read (409).
        ValueError: a folder is not allowed, or as `save_captions` says. Nothing is written.
    """
    with _saving:
        changed_choices = read_all(seen.dataset) != seen.choices
        samples = [
            sample
            for _, sample in seen.dataset.samples()
            if sample.path in edits.captions or sample.path in edits.choices
        ]
        edited = [sample for sample in samples if sample.path in edits.captions]
        changed = [str(sample.path) for sample in samples if not sample.path.is_file()]
        changed += [str(path) for path in changed_captions(edited, seen.missing)]
        if edits.choices and changed_choices:
            changed.append("what is left out or weighed (lora_loop.json)")
        if changed:
            raise Refused(
                f"Changed on the disk since it was read: {in_sentence(changed, 3)}. Nothing was written. "
                "Read the folder again to see it; your edits stay.",
                409,
            )
        for folder in _decided_in(seen.dataset, edits.choices):
            check_no_link(folder)
        folders = {sample.path.parent for sample in samples}
        check_allowed(folders, _PAGE, page=page, again="save again")
        said = []
        if edits.captions:
            dataset = _to_write(seen.dataset, edits.captions)
            said.append(save_captions(dataset, _PAGE, page, _teller(seen.name)))
        choices = _write_choices(seen, edits.choices)
        after = with_saved(seen, _written(edited, edits.captions), choices)
        SEEN.remember(after)
        tell({"id": seen.name})
        if edits.choices:
            said.append(f"what is left out or weighed: {len(edits.choices)} image(s) in {CHOICES}")
        return after, "; ".join(said)


def _teller(name: str) -> Callable[[int, int], None]:
    """Tells the pages how far it is, every half a second."""
    said = time.monotonic()

    def told(done: int, count: int) -> None:
        nonlocal said
        if time.monotonic() - said > _TOLD_EVERY:
            said = time.monotonic()
            tell({"id": name, "saving": [done, count]})

    return told


def _to_write(dataset: Dataset, captions: Mapping[Path, str]) -> Dataset:
    """The images whose captions are written, and those that share a file with one."""
    files = {s.caption_path for _, s in dataset.samples() if s.path in captions}

    def change(sample: Sample) -> Sample | None:
        if sample.caption_path not in files:
            return None
        return replace(sample, caption=captions.get(sample.path, sample.caption))

    return dataset.replace_samples(change)


def _written(edited: Collection[Sample], captions: Mapping[Path, str]) -> dict[Path, str]:
    """The captions as they are read now: written on one line, say, or not at all where they are empty."""
    return {
        sample.path: read_caption(sample.caption_path, sample.all_lines)
        if sample.caption_path.is_file()
        else sample.caption
        for sample in edited
    }


def _write_choices(seen: SeenDataset, edits: Mapping[Path, Choice]) -> dict[Path, Choice]:
    choices = {**seen.choices, **edits}
    choices = {path: choice for path, choice in choices.items() if choice != Choice()}
    for folder, samples in _decided_in(seen.dataset, edits).items():
        write_choices(folder, samples.values(), choices)
    return choices


def _decided_in(dataset: Dataset, edits: Mapping[Path, Choice]) -> dict[Path, dict[Path, Sample]]:
    """The folders about whose images something is decided, with all their images."""
    folders = by_folder(dataset)
    return {folder: own for folder, own in folders.items() if not own.keys().isdisjoint(edits)}
