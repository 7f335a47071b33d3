"""Replays recorded lines of a prompt file; names of checkpoints are not built yet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from ..trainer.prompts import Prompt, parse_prompts
from .case import Case, Unsupported

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


def cases(folder: Path) -> Iterator[Case | Unsupported]:
    """One case per recorded line: how many of its settings differ."""
    recorded = json.loads((folder / "prompts_and_names.json").read_text("utf-8"))
    ours = parse_prompts("\n".join(recorded["prompt_file_lines"]), kohya=True)
    missing = abs(len(ours) - len(recorded["parsed"]))
    yield Case("prompts_and_names/lines", float(missing), 0.0)
    for prompt, theirs in zip(ours, recorded["parsed"], strict=False):
        yield Case(
            f"prompts_and_names/{theirs['prompt']}", float(_differences(prompt, theirs)), 0.0
        )
    if recorded.get("checkpoint_rotation"):
        yield Unsupported("prompts_and_names: checkpoint_rotation")


def _differences(prompt: Prompt, theirs: dict[str, object]) -> int:
    expected = Prompt("")._asdict()
    expected |= {ours: theirs[name] for name, ours in _NAMES.items() if name in theirs}
    return sum(value != expected[name] for name, value in prompt._asdict().items())
