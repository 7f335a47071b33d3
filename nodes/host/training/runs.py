"""Runs: the list, what goes, and a report, as the node tells them."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterable
from pathlib import Path

from ....base.shortened import in_lines
from ....trainer.runs.report import write_report
from ....trainer.runs.run_list import Pruning, Run, find_run, list_runs, unknown_run
from ....trainer.runs.trash import DAYS, Trash, Trashed
from ....trainer.validation.book import when_to_stop_of
from .. import folders
from ..questions import QUESTIONS, Question

ACTIONS = ("list", "prune", "report", "restore", "empty trash")

_LISTED = 100


def runs(
    action: str, pruning: Pruning, *, dry_run: bool, name: str, names: bool, for_good: bool = False
) -> tuple[str, Path]:
    """Do it; a report in words, and the folder of runs or the archive. ``name``: of the run to report or restore.

    What cannot be brought back is never done here: the browser asks, and a person says yes.

    Raises:
        ValueError: there is no such run, or it cannot be restored.
    """
    root, trash = folders.runs_root(), Trash(folders.trash_root())
    trash.age()
    if action == "report":
        path = _report(root, name.strip(), names)
        return f"Written: {path}\nLook through it before you send it.", path
    if action == "restore":
        return _restored(trash, name.strip(), root), root
    if action == "empty trash":
        return _emptied(trash, dry_run), root
    found = list_runs(root)
    lines = [_line(run) for run in found]
    if action == "prune":
        lines = _pruned(found, pruning, dry_run, trash, for_good)
    total = f"{len(found)} run(s), {_size(sum(run.size for run in found))}, in {root}"
    lines.append(f"{total} before this" if action == "prune" else total)
    return "\n".join([*lines, *_in_trash(trash)]), root


def _pruned(
    found: list[Run], pruning: Pruning, dry_run: bool, trash: Trash, for_good: bool
) -> list[str]:
    what = "states of " if pruning.only_states else ""
    chosen = pruning.chosen(found)
    sizes = {run.path: pruning.size(run) for run in chosen}
    lines = {run.path: _line(run) for run in chosen}

    def told(done: Iterable[tuple[Run, str | None]], verb: str) -> list[str]:
        results = list(done)
        gone = [run.path for run, problem in results if problem is None]
        stay = [f"{run.name} stays: {problem}" for run, problem in results if problem is not None]
        size = _size(sum(sizes[path] for path in gone))
        head = f"{what}{len(gone)} run(s), {size}, {verb}"
        return [head, *(f"  {lines[path]}" for path in gone), *stay]

    if dry_run or (for_good and not chosen):
        verb = "would be deleted for good" if for_good else "would be moved to the trash"
        return told([(run, None) for run in chosen], verb)
    if not for_good:
        return told(pruning.remove(chosen, trash), "moved to the trash")
    question = Question(
        title="Delete these runs for good?",
        text=f"{what}{len(chosen)} run(s), {_size(sum(sizes.values()))}. They cannot be brought back.",
        items=tuple(in_lines(list(lines.values()), _LISTED)),
        yes="Delete",
        do=lambda: "\n".join(told(pruning.remove(chosen), "deleted for good")),
    )
    return [
        *told([(run, None) for run in chosen], "chosen"),
        _asked(question, found[0].path.parent),
    ]


def _emptied(trash: Trash, dry_run: bool) -> str:
    """Ask whether the trash shall be emptied now."""
    entries = trash.entries()
    lines = _in_trash(trash, entries) or [f"the trash {trash.root} is empty"]
    if dry_run or not entries:
        return "\n".join(lines)

    def do() -> str:
        done = list(trash.empty(entries))
        freed = sum(entry.size for entry, problem in done if problem is None)
        stay = [f"{entry.path} stays: {problem}" for entry, problem in done if problem is not None]
        return "\n".join([f"{len(done) - len(stay)} of the trash, {_size(freed)}, deleted", *stay])

    question = Question(
        title="Empty the trash of runs?",
        text=f"{_size(sum(entry.size for entry in entries))}. They cannot be brought back.",
        items=tuple(in_lines(lines[1:], _LISTED)),
        yes="Delete",
        do=do,
    )
    return "\n".join([*lines, _asked(question, trash.root)])


def _asked(question: Question, root: Path) -> str:
    by_hand = f"delete the folders in {root} by hand"
    if QUESTIONS.ask(question):
        return f"nothing is deleted yet: say yes in the dialog of the browser, or {by_hand}"
    return f"nothing is deleted: there is no browser to ask; {by_hand}"


def _restored(trash: Trash, name: str, root: Path) -> str:
    try:
        entry = trash.restore(name, root)
    except (ValueError, OSError) as problem:
        raise ValueError(f"Runs: nothing was restored: {problem}") from problem
    what = "" if entry.is_whole else "the states of "
    return f"{what}{entry.run}, {_size(entry.size)}, restored to {root / entry.run}"


def _in_trash(trash: Trash, entries: list[Trashed] | None = None) -> list[str]:
    """A line about the trash and one for each folder in it; none if it is empty."""
    entries = trash.entries() if entries is None else entries
    if not entries:
        return []
    size = _size(sum(entry.size for entry in entries))
    head = f"in the trash {trash.root}, for {DAYS:g} days each: {len(entries)}, {size}"
    return [head, *(f"  {_trashed(entry)}" for entry in entries)]


def _trashed(entry: Trashed) -> str:
    what = "" if entry.is_whole else "states of "
    return f"{what}{entry.run}, {_size(entry.size)}, {max(DAYS - entry.days, 0):.0f} days left"


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
    return report_of(run, names=names)


def report_of(run: Run, *, names: bool) -> Path:
    """Write the archive of a run; where it lies. names: see `write_report`."""
    target = folders.reports_root() / f"{run.name}.zip"
    versions, advice = {"comfyui": _comfyui_version()}, when_to_stop_of(run.path)
    return write_report(run, target, versions, names=names, advice=advice)


def _comfyui_version() -> str:
    try:
        return str(importlib.import_module("comfyui_version").__version__)
    except ImportError:
        return "unknown"


def _size(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
