"""The previews of a run with their prompts and, for each, the image that the MODEL gives without the LoRA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from ....trainer.runs.run_list import Run
from ..previews.preview_book import MadeBy, Place, PreviewBook, read_made_by


class Shown(NamedTuple):
    """A preview. prompt: None where it does not say; is_base: it was made without the LoRA; base: the one
    of the same prompt, seed and sampling that was, None where there is none."""

    place: Place
    path: Path
    prompt: str | None
    is_base: bool
    base: Path | None


def shown_previews(run: Run) -> list[Shown]:
    """All previews of a run, in order of steps, prompts and strengths.

    Without the LoRA are those of strength 0, and of step 0 unless the run began with another LoRA.
    """
    places = PreviewBook(run.path / "previews").places()
    made_by = {place: read_made_by(path) for place, path in places.items()}
    begun = not run.inputs.get("origin")
    bases: dict[str, tuple[bool, Path]] = {}
    for place, path in places.items():
        said = made_by[place]
        if said is not None and _is_base(place, begun):
            known = bases.get(_key(said))
            if known is None or (place.strength == 0 and not known[0]):
                bases[_key(said)] = place.strength == 0, path
    found = []
    for place, path in places.items():
        said, is_base = made_by[place], _is_base(place, begun)
        base = None if said is None or is_base else bases.get(_key(said), (False, None))[1]
        found.append(Shown(place, path, None if said is None else said["text"], is_base, base))
    return found


def _is_base(place: Place, begun_from_nothing: bool) -> bool:
    return place.strength == 0 or (place.step == 0 and begun_from_nothing)


def _key(made_by: MadeBy) -> str:
    return json.dumps(made_by, sort_keys=True)
