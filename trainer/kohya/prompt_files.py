"""kohya's files of preview prompts, .txt, .toml or .json, as lines with kohya's options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...base.small_file import parse_json
from .toml import toml_tables

_OPTIONS = {
    "negative_prompt": "n", "width": "w", "height": "h", "seed": "d", "scale": "l",
    "sample_steps": "s", "sample_sampler": "ss",
}  # fmt: skip
"""kohya's names in a table of a prompt, and the option of a line that says the same."""


def prompt_lines(text: str, suffix: str) -> tuple[str, ...]:
    """The prompts of a file's text, whose name ends with ``suffix``, a line each.

    Raises:
        ValueError: the ending is another one, or the text is not of that form.
    """
    if suffix == ".txt":
        lines = (line.strip() for line in text.splitlines() if not line.startswith("#"))
        return tuple(line for line in lines if line)
    if suffix == ".toml":
        shared = toml_tables(text, "sample_prompts").get("prompt", {})
        prompts = [{**shared, **one} for one in shared.get("subset", [])]
    elif suffix == ".json":
        try:
            prompts = parse_json(text)
        except ValueError as error:
            raise ValueError(f"sample_prompts is not valid json: {error}") from error
    else:
        raise ValueError(f"sample_prompts ends in {suffix!r}; it must be .txt, .toml or .json")
    if not isinstance(prompts, list):
        raise ValueError("sample_prompts must hold a list of prompts")
    return tuple(map(_line, prompts))


def _line(prompt: Any) -> str:
    if isinstance(prompt, str):
        return " ".join(prompt.split())
    if not isinstance(prompt, Mapping) or not isinstance(prompt.get("prompt"), str):
        raise ValueError(f"sample_prompts: {prompt!r} has no prompt")
    text = " ".join(prompt["prompt"].split())
    given = [(option, prompt[name]) for name, option in _OPTIONS.items() if name in prompt]
    return text + "".join(f" --{option} {' '.join(str(value).split())}" for option, value in given)
