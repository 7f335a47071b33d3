"""Recorded arguments of kohya's trainer, read by the importer that users run (`import_config`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..trainer.kohya.arguments import HONOURED
from ..trainer.kohya.config import KohyaConfig, Source, import_config
from ..trainer.kohya.toml import KNOWN
from .case import Unsupported

_PART = {"train_data_dir": "data", "network_train_unet_only": True}
"""What a recording of a part of kohya leaves out: a config needs a dataset, and there was the UNet alone."""

_IN_NETWORK_ARGS = ("conv_dim", "conv_alpha")
"""Settings of a network that are recorded beside its arguments, and are among its network_args."""


def from_words(words: Sequence[str]) -> dict[str, Any]:
    """A command line as the arguments of a config.toml. Raises Unsupported for a word that is no value."""
    given: dict[str, list[str]] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name = word[2:]
            given[name] = []
        elif name:
            given[name].append(word)
        else:
            raise Unsupported(f"{word} stands before any argument")
    return {name: _value(name, values) for name, values in given.items()}


def _value(name: str, words: list[str]) -> Any:
    """The words behind an argument, as toml has them."""
    kind = HONOURED[name].kind if name in HONOURED else "text" if words else "switch"
    if kind == "list of texts":
        return words
    if kind == "switch" and not words:
        return True
    try:
        if kind == "number or list":
            return [float(word) for word in words]
        (word,) = words
        if kind == "whole number":
            return int(word)
        is_number = kind == "number" or (kind == "length" and not word.endswith("%"))
        return float(word) if is_number else word
    except ValueError as error:
        raise Unsupported(f"--{name} {' '.join(words)}: a {kind} is expected") from error


def network_arguments(network: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a recorded network, its network_args a list of key=value or a mapping."""
    given = network.get("network_args") or []
    lines = [f"{k}={v}" for k, v in given.items()] if isinstance(given, dict) else list(given)
    lines += [f"{key}={network[key]}" for key in _IN_NETWORK_ARGS if network.get(key) is not None]
    return {**{key: value for key, value in network.items() if key in KNOWN}, "network_args": lines}


def import_part(arguments: Mapping[str, Any], name: str) -> KohyaConfig:
    """What the importer makes of the arguments of one part of kohya. Raises Unsupported (see import_all)."""
    return import_all({**_PART, **arguments}, name)


def import_all(arguments: Mapping[str, Any], name: str) -> KohyaConfig:
    """What the importer makes of all arguments of a run, by kohya's names, as a config.toml called ``name``.

    What is None is left out, as is what is off and unknown to the importer.

    Raises:
        Unsupported: an argument is unknown, or the importer refuses one; its words.
    """
    given = {
        key: value
        for key, value in arguments.items()
        if value is not None and (value or key in KNOWN)
    }
    for key in (
        given.keys() - KNOWN
    ):  # a config may hold such names; a recording of them would be another
        raise Unsupported(f"{name}: {key} is no argument of kohya's that is known here")
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in given.items()]

    def locate(path: str, what: str) -> Path:
        raise Unsupported(f"{name}: {what} {path} is not recorded")

    try:
        return import_config(Source(name, "\n".join(lines)), locate)
    except ValueError as error:
        raise Unsupported(str(error)) from error
