"""kohya's arguments of preview images as the fields of the preview settings, which are the host's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .prompt_files import prompt_lines
from .prompt_lines import SAMPLERS
from .toml import Locate, MissingError, read_text

CADENCE = ("sample_every_n_epochs", "sample_every_n_steps", "sample_at_first")
"""The arguments without which no preview is made."""

_ALONE = {"width": 512, "height": 512, "steps": 30, "cfg": 7.5}
"""What a preview prompt has without options of its own, in kohya."""


def are_wanted(values: Mapping[str, Any]) -> bool:
    """Whether previews are made: there are prompts, and something says when."""
    return bool(values["sample_prompts"]) and any(values[name] > 0 for name in CADENCE)


def preview_settings(
    values: Mapping[str, Any], locate: Locate, *, has_prompts: bool = False
) -> dict[str, Any]:
    """What the preview settings have beside what single arguments say.

    ``has_prompts``: sample_prompts is their text, not the path of a file.

    Raises:
        ValueError: the file of prompts may not be read, holds no prompts, or is wanted and missing.
    """
    sampler = values["sample_sampler"]
    found = {**_ALONE, "sampler": SAMPLERS.get(sampler, sampler)}
    cadence = {
        "every": max(0, values["sample_every_n_steps"]),
        "every_epochs": max(0, values["sample_every_n_epochs"]),
    }
    if not values["sample_prompts"]:
        return {**found, "every": 0}
    if has_prompts:
        return {**found, **cadence, "prompts": prompt_lines(values["sample_prompts"], ".txt")}
    try:
        path = locate(values["sample_prompts"], "sample_prompts")
        prompts = prompt_lines(read_text(path), path.suffix)
    except MissingError:
        if are_wanted(values):
            raise
        return {**found, "every": 0}
    return {**found, **cadence, "prompts": prompts}
