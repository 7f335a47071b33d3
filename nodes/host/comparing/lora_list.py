"""Which LoRAs are compared: files of models/loras, checkpoints and results of runs, LoRAs in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ....trainer.lora_files.file import read_own_lora
from ....trainer.runs.checkpoints import FOLDER
from ....trainer.runs.run_list import Run, find_run, list_runs, run_of, unknown_run
from ....trainer.runs.sweep import differences
from ....trainer.runs.trained_lora import TrainedLora
from .. import folders
from ..lora.load import load_lora, lora_names, lora_state

MOST_LORAS = 64
_STEPS = "ss_steps"
_UNKNOWN = 10**12
_LETTERS = 8
"""Of the name of a run, where several are told apart."""


class Candidate(NamedTuple):
    """A LoRA to compare: what it is called, and how its tensors are had."""

    name: str
    read: Callable[[], Mapping[str, Tensor]]


def run_files(run: Run) -> list[Path]:
    """The LoRA files of a run, checkpoints, best and results, in order of their steps."""
    found = [*run.path.glob(f"{FOLDER}/*.safetensors"), *run.path.glob("best-*.safetensors")]
    return sorted([*found, *run.results], key=lambda path: (_steps(path), path.name))


def _one_a_step(files: Sequence[Path]) -> list[Path]:
    """Those of a run, of several of the same step the result, or else the best: they hold the same LoRA."""
    found = {_steps(path) if _steps(path) < _UNKNOWN else path: path for path in files}
    return list(found.values())


def listed(name: str) -> list[str]:
    """The LoRA files of the run of that name, of the latest where it is empty, as Compare LoRAs takes them."""
    root = folders.runs_root()
    run = find_run(root, name) if name else next(iter(list_runs(root)), None)
    return [f"{run.name}/{path.name}" for path in _one_a_step(run_files(run))] if run else []


def state_of(text: str) -> str:
    """Changes when a file that the lines of a text name does, or when a run gets another."""
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        if line in lora_names():
            found.append(lora_state(line))
        elif run := find_run(folders.runs_root(), line.partition("/")[0]):
            files = [(path.name, path.stat()) for path in run_files(run)]
            found += [f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in files]
    return "\n".join(found)


def candidates(text: str, loras: Sequence[Mapping[str, Tensor]]) -> list[Candidate]:
    """What the lines of a text name, and LoRAs in memory before them.

    A line is the name of a file in models/loras, the name of a run, for all of its files, or run/file.

    Raises:
        ValueError: a line names nothing that there is, nothing is given at all, or too much.
    """
    found = [Candidate(name, lambda lora=lora: lora) for name, lora in _in_memory(loras)]
    lines = list(dict.fromkeys(filter(None, map(str.strip, text.splitlines()))))
    runs = {line.partition("/")[0] for line in lines if line not in lora_names()}
    for line in lines:
        found += _of_line(line, several=len(runs) > 1 or bool(loras))
    if not found:
        raise ValueError(
            "Compare LoRAs: there is no LoRA to compare. Connect loras, or type into files a LoRA in models/loras, "
            "or the name of a run as Runs lists it."
        )
    if len(found) > MOST_LORAS:
        raise ValueError(
            f"Compare LoRAs: {len(found)} LoRAs are given; at most {MOST_LORAS} are compared. Name single files "
            "(run/file) instead of whole runs."
        )
    return _told_apart(found)


def _told_apart(found: Sequence[Candidate]) -> list[Candidate]:
    """With a number behind each name that an earlier one has."""
    seen: Counter[str] = Counter()
    named = []
    for one in found:
        seen[one.name] += 1
        again = f" ({seen[one.name]})" if seen[one.name] > 1 else ""
        named.append(one._replace(name=one.name + again))
    return named


def _in_memory(loras: Sequence[Mapping[str, Tensor]]) -> list[tuple[str, Mapping[str, Tensor]]]:
    trained = [lora for lora in loras if isinstance(lora, TrainedLora)]
    words = differences([lora.config for lora in trained])
    names = [f"{word}, seed {one.config.seed}" for word, one in zip(words, trained, strict=True)]
    if len(trained) < len(loras) or len(set(names)) < len(loras) or len(loras) == 1:
        names = [_origin(lora) or f"LoRA {number}" for number, lora in enumerate(loras, 1)]
    return list(zip(names, loras, strict=True))


def _origin(lora: Mapping[str, Tensor]) -> str:
    """The run that a LoRA in memory is of, and how many steps of it; "" where neither is known."""
    said = getattr(lora, "metadata", {})
    run = run_of(folders.runs_root(), said)
    if run is None or _STEPS not in said:
        return ""
    return f"{run.name[:_LETTERS]}/step {said[_STEPS]}"


def _of_line(line: str, *, several: bool) -> list[Candidate]:
    """What a line names. several: the names of files say of which run they are."""
    if line in lora_names():
        return [Candidate(line, lambda: load_lora(line))]
    name, _, file = line.partition("/")
    run = find_run(folders.runs_root(), name)
    if run is None:
        known = unknown_run(folders.runs_root(), name)
        raise ValueError(f"Compare LoRAs: {line!r} is no file in models/loras, and {known}")
    files = run_files(run)
    chosen = [path for path in files if file == path.name] if file else _one_a_step(files)
    if not chosen:
        there = ", ".join(path.name for path in files[:5]) or "none yet"
        raise ValueError(f"Compare LoRAs: run {name} has no LoRA called {file!r}. It has: {there}.")
    start = f"{name[:_LETTERS]}/" if several else ""
    return [Candidate(start + path.stem, lambda path=path: read_own_lora(path)) for path in chosen]


def _steps(path: Path) -> int:
    """How many steps a file says that it is of; one that cannot be read comes last, and says so when it is read."""
    try:
        with safe_open(path, framework="pt") as file:
            said = (file.metadata() or {}).get(_STEPS, "")
    except (OSError, SafetensorError):
        said = ""
    return int(said) if said.isdecimal() and len(said) < 12 else _UNKNOWN
