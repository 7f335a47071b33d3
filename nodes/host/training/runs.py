"""Runs: the list, what goes, and a report, as the node tells them."""

from __future__ import annotations

import importlib
import time
from pathlib import Path

from ....trainer.runs.report import write_report
from ....trainer.runs.run_list import Pruning, Run, find_run, list_runs, unknown_run
from .. import folders

ACTIONS = ("list", "prune", "report")


def runs(
    action: str, pruning: Pruning, *, dry_run: bool, name: str, names: bool
) -> tuple[str, Path]:
    """Do it; a report in words, and the folder of runs or the archive. ``name``: of the run to report.

    Raises:
        ValueError: there is no such run.
    """
    root = folders.runs_root()
    if action == "report":
        path = _report(root, name.strip(), names)
        return f"Written: {path}\nLook through it before you send it.", path
    found = list_runs(root)
    lines = _pruned(found, pruning, dry_run) if action == "prune" else [_line(r) for r in found]
    total = f"{len(found)} run(s), {_size(sum(run.size for run in found))}, in {root}"
    return "\n".join([*lines, f"{total} before this" if action == "prune" else total]), root


def _pruned(found: list[Run], pruning: Pruning, dry_run: bool) -> list[str]:
    what = "states of " if pruning.only_states else ""
    chosen = pruning.chosen(found)
    sizes = {run.path: pruning.size(run) for run in chosen}
    lines = {run.path: _line(run) for run in chosen}
    done = [(run, None) for run in chosen] if dry_run else list(pruning.remove(chosen))
    gone = [run.path for run, problem in done if problem is None]
    freed = _size(sum(sizes[path] for path in gone))
    verb = "would be removed" if dry_run else "removed"
    stay = [f"{run.name} stays: {problem}" for run, problem in done if problem is not None]
    return [f"{what}{len(gone)} run(s), {freed}, {verb}", *(f"  {lines[p]}" for p in gone), *stay]


def _line(run: Run) -> str:
    """One run: when, how far, how large, what."""
    when = _when(run.time)
    asked = run.config.get("steps", "?")
    parts = [f"{run.name}  {when}  {run.status}, step {run.steps} of {asked}", _size(run.size)]
    parts += [f"trigger {run.trigger}"] if run.trigger else []
    return ", ".join([*parts, run.damage or _recipe(run)])


def _when(seconds: float) -> str:
    """A time of the file system's, which a wrong clock can have set to anything."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "at an unknown time"


def _recipe(run: Run) -> str:
    """The main settings of a run in a few words; what an old run does not say is left out."""
    lora, optimiser = run.config.get("lora", {}), run.config.get("optimiser", {})
    words = [
        f"rank {lora.get('rank', '?')}",
        f"{optimiser.get('type', '?')} {optimiser.get('learning_rate', 0):g}",
        str(optimiser.get("schedule", "?")),
        f"batch {run.config.get('batch_size', '?')}",
        f"seed {run.config.get('seed', '?')}",
    ]
    return " ".join(words)


def _report(root: Path, name: str, names: bool) -> Path:
    """The archive of one run, of the latest where no name is given."""
    run = find_run(root, name) if name else next(iter(list_runs(root)), None)
    if run is None:
        raise ValueError(f"Runs: {unknown_run(root, name)}")
    target = folders.reports_root() / f"{run.name}.zip"
    return write_report(run, target, {"comfyui": _comfyui_version()}, names=names)


def _comfyui_version() -> str:
    try:
        return str(importlib.import_module("comfyui_version").__version__)
    except ImportError:
        return "unknown"


def _size(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
