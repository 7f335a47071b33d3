"""Preview prompts, a line each, with kohya's options behind them: ``a cat --w 512 --d 42 --n blurry``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

MAX_STEPS, MIN_SIDE, SIDE_STEP = 1000, 64, 8
_DIGITS, _SHOWN = 21, 60
MAX_SIDE, MAX_SCALE, MAX_SEED, MAX_LETTERS = 4096, 100.0, 2**64 - 1, 10_000

SAMPLERS = {
    "euler_a": "euler_ancestral", "k_euler": "euler", "k_euler_a": "euler_ancestral",
    "dpm_2_a": "dpm_2_ancestral", "k_dpm_2": "dpm_2", "k_dpm_2_a": "dpm_2_ancestral",
    "k_lms": "lms", "dpmsolver": "dpmpp_2m", "dpmsolver++": "dpmpp_2m", "dpmsingle": "dpmpp_2s_ancestral",
    "pndm": "ipndm",
}  # fmt: skip
"""kohya's names of samplers whose name in ComfyUI is another; of two the nearest relative."""


class Prompt(NamedTuple):
    """One line; what it does not say is None."""

    text: str
    negative: str | None = None
    width: int | None = None
    height: int | None = None
    seed: int | None = None
    cfg: float | None = None
    steps: int | None = None
    sampler: str | None = None


def _whole(text: str) -> int:
    """The number; one of more digits than any limit here has is as good as the first that is too large."""
    return int(text) if len(text) <= _DIGITS else 10**_DIGITS


def _steps(text: str) -> int:
    return max(1, min(MAX_STEPS, _whole(text)))


_SEED = re.compile(r"d (\d+)", re.IGNORECASE)
_OPTIONS: tuple[tuple[str, str, Callable[[str], Any]], ...] = (
    (r"w (\d+)", "width", _whole),
    (r"h (\d+)", "height", _whole),
    (_SEED.pattern, "seed", _whole),
    (r"s (\d+)", "steps", _steps),
    (r"l (\d+(?:\.\d+)?)$", "cfg", float),
    (r"n (.+)", "negative", str),
    (r"ss (.+)", "sampler", str),
)
"""kohya's options that mean something for SDXL; others, and what is no number, are passed over."""


def parse_prompts(text: str, kohya: bool = False) -> tuple[Prompt, ...]:
    """The prompts of all lines that are neither empty nor begin with ``#``.

    Sides are brought to multiples of 8 from 64 on, as kohya does when it samples, and samplers have
    ComfyUI's names; with ``kohya`` both stay as they are written.

    Raises:
        ValueError: a number or a text is larger than a preview may have; not with ``kohya``.
    """
    lines = (line.strip() for line in text.splitlines())
    prompts = [_parse(line) for line in lines if line and not line.startswith("#")]
    return tuple(prompts if kohya else map(_usable, prompts))


def without_seed(line: str) -> str:
    """A line without its ``--d``."""
    prompt, *options = line.split(" --")
    return " --".join([prompt, *(one for one in options if not _SEED.match(one))])


def _check(prompt: Prompt) -> None:
    """Refuse what would ask for more memory or time than a preview may take. kohya has no bounds."""
    limits = (
        ("--w", prompt.width, MAX_SIDE), ("--h", prompt.height, MAX_SIDE),
        ("--l", prompt.cfg, MAX_SCALE), ("--d", prompt.seed, MAX_SEED),
        ("the number of characters", len(prompt.text), MAX_LETTERS),
        ("the number of characters of --n", len(prompt.negative or ""), MAX_LETTERS),
    )  # fmt: skip
    for name, value, most in limits:
        if value is not None and value > most:
            shown = f"{value:g}" if isinstance(value, float) or value > MAX_SEED else str(value)
            raise ValueError(
                f"in the preview prompt {prompt.text[:_SHOWN]!r} {name} is {shown}; allowed: up to "
                f"{most:g}"
            )


def _usable(prompt: Prompt) -> Prompt:
    _check(prompt)
    sides = {
        name: max(MIN_SIDE, value // SIDE_STEP * SIDE_STEP)
        for name, value in (("width", prompt.width), ("height", prompt.height))
        if value is not None
    }
    sampler = prompt.sampler and SAMPLERS.get(prompt.sampler.strip(), prompt.sampler.strip())
    return prompt._replace(text=prompt.text.strip(), sampler=sampler, **sides)


def _parse(line: str) -> Prompt:
    prompt, *options = line.split(" --")
    found: dict[str, Any] = {}
    for option in options:
        for pattern, name, read in _OPTIONS:
            match = re.match(pattern, option, re.IGNORECASE)
            if match:
                found[name] = read(match[1])
                break
    return Prompt(prompt, **found)
