"""Where a run begins that continues an older one: with its adapters, and its optimiser where that fits."""

from __future__ import annotations

import json
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...base.config import Config
from ..config.embedding import EmbeddingConfig
from ..config.lora import LoraConfig
from ..config.train import TrainConfig
from ..lora_files.file import read_own_lora
from ..training.state import State
from .run_list import Run, find_run, steps_of, unknown_run
from .state_files import read_state

_FREE = frozenset(
    ("dropout", "rank_dropout", "module_dropout", "loraplus_ratio", "max_norm", "block_rates")
)
"""Settings of the LoRA that do not change what its tensors are."""
_OF_WORD = frozenset(("token", "vectors", "trains"))
"""Settings of the embedding that do."""
_OF_OPTIMISER = (
    "type", "arguments", "beta1", "beta2", "epsilon", "weight_decay", "ema_decay",
)  # fmt: skip
_OF_GROUPS = ("loraplus_ratio", "block_rates")
"""Settings of the optimiser and of the LoRA that must agree for the optimiser's state to be of use."""


@dataclass(frozen=True)
class Origin:
    """A step of an older run: the file that holds its adapters, and whether its optimiser is taken too."""

    run: str
    step: int
    path: Path
    with_optimiser: bool

    @property
    def identity(self) -> str:
        """For the identity of the run that begins here."""
        return f"{self.run} {self.step} {'optimiser' if self.with_optimiser else 'adapters'}"

    def describe(self) -> str:
        """A line for the log."""
        what = "LoRA and optimiser" if self.with_optimiser else "LoRA"
        return f"begins with the {what} of run {self.run} after its step {self.step}"

    def load(self) -> State:
        """The beginning of the new run, whose counters are its own.

        Raises:
            ValueError: the file is damaged.
        """
        if self.path.suffix == ".safetensors":
            return State.beginning(dict(read_own_lora(self.path)))
        state = read_state(self.path)
        if state is None:
            raise ValueError(
                f"The state of run {self.run} at step {self.step} is damaged: delete {self.path}, and "
                "continue_from takes what there is beside it."
            )
        return State.beginning(state.network, state.optimiser if self.with_optimiser else {})


def find_origin(root: Path, name: str, config: TrainConfig) -> Origin:
    """How far the run of that name below ``root`` got, for a new one with ``config``.

    Raises:
        ValueError: there is no such run, it is being trained, has nothing yet, or its LoRA is of
            another kind.
    """
    name = name.strip()
    run = find_run(root, name)
    if run is None:
        raise ValueError(f"continue_from: {unknown_run(root, name)}")
    if run.owner:
        raise ValueError(f"continue_from: run {name} is being trained now ({run.owner}).")
    _check_network(run, _settings(config))
    agrees = _optimiser_agrees(run.config, _settings(config))
    state = next((path for path in run.states if steps_of(path) == run.steps), None)
    result = next((path for path in run.results if steps_of(path) == run.steps), None)
    if state is not None and (agrees or result is None):
        return Origin(name, run.steps, state, agrees)
    if result is None:
        raise ValueError(f"continue_from: run {name} has not got anywhere yet.")
    return Origin(name, run.steps, result, False)  # a result is what the optimiser would have used


def _settings(config: TrainConfig) -> dict[str, Any]:
    """A config as one that was stored."""
    return json.loads(json.dumps(config.to_dict()))


def _check_network(run: Run, ours: dict[str, Any]) -> None:
    """Refuse a run with adapters or an embedding of other shapes."""
    _check_part(run, "lora", "LoRA", LoraConfig(), ours, _FREE)
    if ours["embedding"]["token"] or run.config.get("embedding", {}).get("token"):
        free = {*ours["embedding"]} - _OF_WORD
        _check_part(run, "embedding", "embedding", EmbeddingConfig(), ours, free)


def _check_part(
    run: Run, part: str, noun: str, usual: Config, ours: dict[str, Any], free: Set[str]
) -> None:
    # What is younger than the run was as usual.
    theirs = json.loads(json.dumps(usual.to_dict())) | run.config.get(part, {})
    changed = [
        f"{name} is {_shown(value)}, was {_shown(theirs[name])}"
        for name, value in ours[part].items()
        if name not in free and theirs[name] != value
    ]
    if changed:
        raise ValueError(
            f"continue_from: the {noun} of run {run.name} is another one ({'; '.join(changed)}). Set "
            f"{usual.title} as they were there, or empty continue_from."
        )


def _shown(value: Any) -> str:
    return "empty" if value == "" else str(value)


def _optimiser_agrees(theirs: dict[str, Any], ours: dict[str, Any]) -> bool:
    pairs = [("optimiser", name) for name in _OF_OPTIMISER] + [
        ("lora", name) for name in _OF_GROUPS
    ]
    return all(
        theirs.get(section, {}).get(name, ours[section][name]) == ours[section][name]
        for section, name in pairs
    )
