"""Replays recorded lines of a prompt file, and names and removals of checkpoints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..trainer.kohya.prompt_files import prompt_lines
from ..trainer.kohya.prompt_lines import Prompt, parse_prompts
from .case import Case
from .kohya_arguments import import_part

_NAMES = {
    "prompt": "text",
    "negative_prompt": "negative",
    "width": "width",
    "height": "height",
    "seed": "seed",
    "scale": "cfg",
    "sample_steps": "steps",
    "sample_sampler": "sampler",
}
"""What kohya calls the settings; its guidance_scale means nothing for SDXL."""


def cases(folder: Path) -> Iterator[Case]:
    """One case per recorded line and rotation: how many of its settings or files differ."""
    recorded = json.loads((folder / "prompts_and_names.json").read_text("utf-8"))
    lines = prompt_lines("\n".join(recorded["prompt_file_lines"]), ".txt")
    ours = parse_prompts("\n".join(lines), kohya=True)
    missing = abs(len(ours) - len(recorded["parsed"]))
    yield Case("prompts_and_names/lines", float(missing), 0.0)
    for prompt, theirs in zip(ours, recorded["parsed"], strict=False):
        yield Case(
            f"prompts_and_names/{theirs['prompt']}", float(_differences(prompt, theirs)), 0.0
        )
    for rotation in recorded.get("checkpoint_rotation", ()):
        yield _rotation(rotation)


def _differences(prompt: Prompt, theirs: dict[str, object]) -> int:
    expected = Prompt("")._asdict()
    expected |= {ours: theirs[name] for name, ours in _NAMES.items() if name in theirs}
    return sum(value != expected[name] for name, value in prompt._asdict().items())


def _rotation(theirs: dict[str, Any]) -> Case:
    """``name``: the first checkpoint's file; ``removed``: which number goes when one is written."""
    unit = "epochs" if "save_every_n_epochs" in theirs else "steps"
    every, last = theirs[f"save_every_n_{unit}"], theirs.get(f"save_last_n_{unit}") or 0
    name = theirs["name"].rpartition("-")[0]
    given = {f"save_every_n_{unit}": every, f"save_last_n_{unit}": last}
    config = import_part({"output_name": name, **given}, theirs["name"]).checkpoints
    if unit == "epochs":
        first = config.epoch_file(every)
        removed = {no: config.epoch_to_remove(int(no), every) for no in theirs["removed"]}
    else:
        first = config.step_file(every)
        removed = {no: config.step_to_remove(int(no)) for no in theirs["removed"]}
    wrong = sum(removed[no] != expected for no, expected in theirs["removed"].items())
    wrong += first != theirs["name"]
    return Case(f"prompts_and_names/every {every} {unit}, last {last}", float(wrong), 0.0)
