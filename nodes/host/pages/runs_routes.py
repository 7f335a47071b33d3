"""What the page of runs in ComfyUI's sidebar asks: the list, settings, deleting and its undo, a report."""

from __future__ import annotations

import re
from typing import Any

from ....trainer.files.digests import digest
from ....trainer.runs.run_list import Pruning, Run, find_run
from ....trainer.runs.trash import Trash
from .. import folders
from ..training.runs import report_of
from ..web.json_request import short_text
from ..web.routes import Refused, add_route
from .run_cards import Card, RunCards
from .run_settings import run_settings, settings_told, usual_settings

LIST, SETTINGS = "/lora_loop/runs/list", "/lora_loop/runs/settings"
"""GET, all runs: {"runs": [...], "usual": defaults, "state": another one where a run that does not train
changes}, or with ``training=1`` those that train now: {"runs": [...], "state": of all}. GET ``run=NAME``: what a graph needs to ask for that run (see `run_settings`), its trigger and LoRA."""
DELETE, RESTORE = "/lora_loop/runs/delete", "/lora_loop/runs/restore"
"""POST {"run": NAME}: to the trash, and back."""
REPORT = "/lora_loop/runs/report"
"""POST {"run": NAME}: {"path": of the zip, "name": of the file, "subfolder": of it in output}."""

_ORIGIN = re.compile(r"[0-9a-f]{16} \d+ \w+")
_CARDS = RunCards()


def add_routes() -> None:
    """Let ComfyUI's server answer the page; nothing where there is no server."""
    add_route("GET", LIST, _list)
    add_route("GET", SETTINGS, _settings)
    add_route("POST", DELETE, _delete, page_only=True)
    add_route("POST", RESTORE, _restore, page_only=True)
    add_route("POST", REPORT, _report, page_only=True)


def _list(asked: dict[str, Any]) -> dict[str, Any]:
    cards = _CARDS.cards(folders.runs_root())
    idle = (f"{run.name} {run.time}" for run, *_ in cards if not run.owner)
    state = digest(*idle)[:16]
    if asked.get("training") != "1":
        return {"runs": [_told(card) for card in cards], "usual": usual_settings(), "state": state}
    return {"runs": [_told(card) for card in cards if card.run.owner], "state": state}


def _told(card: Card) -> dict[str, Any]:
    """What the page shows of a run in the list; digests only as far as they tell runs apart."""
    run = card.run
    origin = run.inputs.get("origin", "")
    begun = origin if _ORIGIN.fullmatch(origin) else origin[:8]
    made_of = {name: run.inputs.get(name, "")[:8] for name in ("data", "texts", "model")}
    return {
        "name": run.name,
        "time": run.time,
        "size": run.size,
        "steps": run.steps,
        "asked": run.config.get("steps"),
        "status": card.status,
        "model": card.model,
        "damage": run.damage,
        "inputs": {**made_of, "origin": begun},
        "settings": settings_told(run.config),
    }


def _settings(asked: dict[str, Any]) -> dict[str, Any]:
    run = _known(asked)
    lora = str(run.results[-1]) if run.results else ""
    return {**run_settings(run), "trigger": run.trigger, "lora": lora}


def _delete(asked: dict[str, Any]) -> dict[str, Any]:
    run = _known(asked)
    if run.owner:
        raise Refused(f"Run {run.name} is being trained now ({run.owner}).", 409)
    trash = Trash(folders.trash_root())
    for _, problem in Pruning().remove([run], trash):
        if problem is not None:
            raise Refused(f"Run {run.name} stays: {problem}", 409)
    return {"run": run.name}


def _restore(asked: dict[str, Any]) -> dict[str, Any]:
    name = short_text(asked, "run")
    if not name:
        raise ValueError("Say which run.")
    try:
        return {"run": Trash(folders.trash_root()).restore(name, folders.runs_root()).run}
    except ValueError as problem:
        raise Refused(f"Nothing was restored: {problem}", 404) from problem


def _report(asked: dict[str, Any]) -> dict[str, Any]:
    path = report_of(_known(asked), names=False)
    subfolder = path.parent.relative_to(folders.output_root().parent).as_posix()
    return {"path": str(path), "name": path.name, "subfolder": subfolder}


def _known(asked: dict[str, Any]) -> Run:
    """The run of the name that was asked for; Refused where there is none."""
    name = short_text(asked, "run")
    run = find_run(folders.runs_root(), name)
    if run is None:
        raise Refused("There is no such run.", 404)
    return run
