"""What peft and diffusers write of an adapter beside its weights, and the scale that follows from it.

Source: peft's LoraModel and its get_pattern_key. A pattern is a regular expression that must match
the end of a layer's path from the beginning or after a dot; the first pattern that does counts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import regex

from ...base.small_file import parse_json
from .names import component_of

AdapterConfig = Mapping[str, Any]
"""What peft writes of an adapter: `r`, `lora_alpha`, `use_rslora`, `alpha_pattern`."""

DIFFUSERS_METADATA = "lora_adapter_metadata"
"""Where diffusers writes the adapter configs of a file, as JSON with `unet.` and the like before keys."""

SECONDS = 0.25
"""How long one pattern may take for one layer."""
SECONDS_IN_ALL = 5.0
"""How long all patterns may take for all layers of a file."""
MOST_PATTERNS, LONGEST_PATTERN = 1000, 500
_CHANGES_THE_MODEL = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""init_lora_weights by which peft takes something away from the model's own weights."""


def parse_config(text: str, source: str) -> dict[str, Any]:
    """The JSON of a config. Raises ValueError, naming ``source``, where it is no JSON object."""
    try:
        values = parse_json(text)
    except ValueError as error:
        raise ValueError(f"{source} is no JSON that can be read: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{source} is no JSON object, which a config of peft is.")
    return values


class Scales:
    """The alphas of layers whose file has none: from its configs, one for each component."""

    def __init__(self, metadata: Mapping[str, str], config: AdapterConfig | None) -> None:
        """``metadata`` is the file's; ``config`` what lies beside it.

        Raises:
            ValueError: the metadata or the config cannot be what peft writes.
        """
        self._clock = _Clock()
        self._configs: dict[str, dict[str, Any]] = {"": dict(config or {})}
        values = parse_config(metadata.get(DIFFUSERS_METADATA, "{}"), DIFFUSERS_METADATA)
        for name, value in values.items():
            component, _, key = name.partition(".")
            self._configs.setdefault(component_of(component), {})[key] = value
        for found in self._configs.values():
            _check(found)

    def alpha(self, component: str, path: str, rank: int) -> float:
        """What divided by ``rank`` is the scale of the layer that the file calls ``path``.

        Raises:
            ValueError: the config is of an adapter of another rank, or a pattern cannot be used.
        """
        config = self._configs.get(component) or self._configs[""]
        expected = _of_layer(config, "rank_pattern", path, config.get("r"), self._clock)
        if expected is not None and expected != rank:
            raise ValueError(
                f"The adapter config says rank {expected} for {path}, and the file has {rank}: it "
                "belongs to another file. Put the config of this LoRA there, or take it away."
            )
        alpha = _of_layer(config, "alpha_pattern", path, config.get("lora_alpha"), self._clock)
        if alpha is None:
            return float(rank)
        return float(alpha) * (math.sqrt(rank) if config.get("use_rslora") else 1.0)


def _check(config: AdapterConfig) -> None:
    for name in ("r", "lora_alpha"):
        _check_number(name, config.get(name))
    for name in ("rank_pattern", "alpha_pattern"):
        patterns = config.get(name) or {}
        if not isinstance(patterns, dict):
            raise ValueError(f"{name} of the adapter config is {patterns!r}, no JSON object.")
        if len(patterns) > MOST_PATTERNS or max(map(len, patterns), default=0) > LONGEST_PATTERN:
            raise ValueError(
                f"{name} of the adapter config has more than {MOST_PATTERNS} patterns, or one of more "
                f"than {LONGEST_PATTERN} characters: peft writes no such config."
            )
        for key, value in patterns.items():
            _check_number(f"{name} of {key}", value)
    start = str(config.get("init_lora_weights")).lower()
    if start.startswith(_CHANGES_THE_MODEL):
        raise ValueError(
            f"This LoRA was trained with init_lora_weights={start}, which changes the weights of the "
            "model as well: it adds the right thing only in peft. Save it there as a plain LoRA "
            "(path_initial_model_for_weight_conversion)."
        )


def _check_number(name: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} of the adapter config is {value!r}, no number.")


class _Clock:
    """Matches patterns for a while; TimeoutError when that is over, or one takes too long by itself."""

    def __init__(self) -> None:
        self._left = SECONDS_IN_ALL

    def match(self, pattern: str, path: str) -> object:
        """What `regex.match` finds."""
        begun = time.monotonic()
        try:
            return regex.match(pattern, path, timeout=max(min(SECONDS, self._left), 1e-6))
        finally:
            self._left -= time.monotonic() - begun


def _of_layer(config: AdapterConfig, name: str, path: str, otherwise: Any, clock: _Clock) -> Any:
    """The value of the first pattern that matches, as peft finds it."""
    for pattern, value in (config.get(name) or {}).items():
        try:
            found = clock.match(rf"(.*\.)?({pattern})$", path)
        except regex.error as error:
            raise ValueError(
                f"{name} of the adapter config has {pattern!r}, no regular expression: {error}"
            ) from error
        except TimeoutError as error:
            raise ValueError(
                f"{name} of the adapter config has {pattern!r}, which takes too long: write it more "
                "simply."
            ) from error
        if found:
            return value
    return otherwise
