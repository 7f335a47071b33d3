"""Which run is most like a new one, and what is different about it: so that nobody wonders why it trains."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..config.optimiser import HORIZON_FREE
from ..config.train import NOT_IN_IDENTITY, STILL_IN_IDENTITY, TrainConfig
from .description import DESCRIPTION, read_description

_SWITCHES = {
    "embedding": ("embedding token",),
    "slider": ("slider positive", "slider negative"),
}
"""Parts of a config that are not used where none of these settings has a value."""


class _Found(NamedTuple):
    """Another run: which of its inputs differ, what of its recipe, when it was last worked on."""

    name: str
    inputs: list[str]
    settings: list[str]
    time: float


def nearest_run(
    root: Path, inputs: Mapping[str, str], config: TrainConfig, needs_horizon: bool
) -> str | None:
    """How the most similar run below ``root`` differs, as a sentence; None if there is none.

    ``inputs``: digests by name, as in `Inputs`. ``needs_horizon``: the data depend on the number of steps.
    """
    found = []
    for path in root.glob(f"*/{DESCRIPTION}"):
        described = read_description(path.parent)
        if described is None:
            continue
        changed = [n for n, value in inputs.items() if described.inputs.get(n, "") != value]
        settings = []
        if "recipe" in changed:
            settings = list(_differences(config, described.config, needs_horizon))
        found.append(_Found(path.parent.name, changed, settings, _time(path)))
    if not found:
        return None
    best = min(found, key=lambda run: (len(run.inputs), len(run.settings), -run.time))
    said = [name for name in best.inputs if name != "recipe" or not best.settings] + best.settings
    return f"this run differs from {best.name} in: {', '.join(said) or 'the name of its folder'}"


def _time(path: Path) -> float:
    """When a file was written: it decides only which of two runs that are as alike is named."""
    try:
        return path.stat().st_mtime
    except OSError:  # it was just removed
        return 0.0


def _differences(config: TrainConfig, other: dict[str, Any], data_needs: bool) -> Iterator[str]:
    """Every setting that counts and is not as in the other run's stored config, with both values."""
    ours = dict(leaves(json.loads(json.dumps(config.to_dict()))))
    theirs = dict(leaves(other))
    for name, value in ours.items():
        counts = name.split()[0] not in NOT_IN_IDENTITY or name in STILL_IN_IDENTITY
        if not counts or theirs.get(name, value) == value or _is_off(name, ours, theirs):
            continue
        if name != "steps":
            yield f"{name} {_shown(value)} instead of {_shown(theirs[name])}"
        elif reason := _horizon(config, data_needs):
            yield f"number of steps, {value} instead of {theirs[name]}, because {reason} depends on it"


def _is_off(name: str, *configs: Mapping[str, Any]) -> bool:
    """Whether a setting is of a part that none of the configs uses."""
    switches = _SWITCHES.get(name.split()[0], ())
    return bool(switches) and not any(config.get(s) for s in switches for config in configs)


def leaves(config: Mapping[str, Any], section: str = "") -> Iterator[tuple[str, Any]]:
    """A config as pairs of name and value: `steps`, `optimiser learning_rate`."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{section}{name} ")
        else:
            yield f"{section}{name}", value


def _horizon(config: TrainConfig, data_needs: bool) -> str | None:
    """What makes the numbers of a step depend on how many there are."""
    optimiser = config.optimiser
    if optimiser.schedule not in HORIZON_FREE:
        return f"the schedule {optimiser.schedule}"
    if optimiser.needs_horizon:
        return "a warm-up that is a fraction"
    return "the warm-up of tokens" if data_needs or config.captions.needs_horizon else None


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value).strip('"') or "none"
