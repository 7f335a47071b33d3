"""What the folder of a run says of itself: its inputs, its settings, and its place in the order of runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ..config.train import TrainConfig
from ..files.record import Part, load_record

DESCRIPTION = "run.json"


class Description(NamedTuple):
    """Digests of the inputs by name, the config as it was stored, the number of the run, its base model.

    ``number``: the higher, the later the run was last begun, whatever the clock said; 0: not known.
    ``model``: the name of the checkpoint's file; "": not known.
    """

    inputs: dict[str, str]
    config: dict[str, Any]
    number: int
    model: str = ""


def load_description(folder: Path) -> Description:
    """The description of the run in ``folder``. Settings have the types that a config has.

    Raises:
        ValueError: it is missing or damaged; names the file and says in what.
    """
    path = folder / DESCRIPTION
    try:
        return load_record(path, _described)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing") from None


def read_description(folder: Path) -> Description | None:
    """As `load_description`; None if it is unusable."""
    try:
        return load_description(folder)
    except ValueError:
        return None


def next_number(folders: Iterable[Path]) -> int:
    """For a run that begins after those in ``folders``."""
    found = (read_description(folder) for folder in folders)
    return 1 + max((known.number for known in found if known is not None), default=0)


def describe(inputs: Mapping[str, str], config: TrainConfig, number: int, model: str = "") -> bytes:
    """The contents of a description."""
    known = {"inputs": dict(inputs), "config": config.to_dict(), "number": number}
    content = known | ({"model": model} if model else {})
    return json.dumps(content, indent=1).encode()


def _described(part: Part) -> Description:
    number, model = part.get("number"), part.get("model")
    config = part["config"]
    config["steps"].whole()
    return Description(
        {name: value.text() for name, value in part["inputs"].fields().items()},
        _checked(config, _defaults()),
        0 if number is None else number.whole(),
        "" if model is None else model.text(),
    )


@cache
def _defaults() -> dict[str, Any]:
    """What a config of today looks like in JSON."""
    return json.loads(json.dumps(TrainConfig().to_dict()))


def _checked(config: Part, alike: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, each of the type of the one ``alike``; what is not known there, of any plain type."""
    found = {}
    for name, part in config.fields().items():
        model = alike.get(name)
        found[name] = _checked(part, model) if isinstance(model, dict) else _value(part, model)
    return found


def _value(part: Part, model: Any) -> Any:
    if isinstance(model, bool):
        return part.flag()
    if isinstance(model, int):
        return part.whole(-(1 << 62))
    if isinstance(model, float):
        return part.number()
    if isinstance(model, str):
        return part.text()
    return [one.plain() for one in part] if isinstance(model, list) else part.plain()
