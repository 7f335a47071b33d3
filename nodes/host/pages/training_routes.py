"""What a page can ask of the trainings of this ComfyUI: how they stand, and to do something."""

from __future__ import annotations

from typing import Any

from ..training.trainings import COMMANDS, GOES_ON, TRAININGS, Training
from ..training.turns import PAUSED
from ..web.json_request import short_text
from ..web.routes import Refused, add_route

TRAINING = "/lora_loop/training"
"""GET: {"trainings": [...]}, the latest last. POST {"node": id, "workflow": id or null, "command": word}, the
word one of COMMANDS or "resume"; the answer is the training."""


def add_routes() -> None:
    """Let ComfyUI's server answer the page; nothing where there is no server."""
    add_route("GET", TRAINING, lambda asked: {"trainings": TRAININGS.describe()})
    add_route("POST", TRAINING, _command)


def _command(asked: dict[str, Any]) -> dict[str, Any]:
    node, command = short_text(asked, "node"), asked.get("command")
    if command not in (*COMMANDS, "resume"):
        raise ValueError(
            f'Send {{"command": word}}, the word one of {", ".join(COMMANDS)}, resume.'
        )
    workflow = asked.get("workflow")
    if workflow is not None:
        workflow = short_text(asked, "workflow")
    training = TRAININGS.find(node, workflow)
    if training is None:
        raise Refused(f"Node {node} is not training.", 409)
    _do(training, command)
    return {"node": training.node_id, **training.state}


def _do(training: Training, command: str) -> None:
    state = training.state["state"]
    if command == "resume":
        if not PAUSED.resume(training):
            raise Refused("This training is not paused. Queue it to go on.", 409)
    elif state not in GOES_ON:
        raise Refused(f"This training does not run: it is {state}.", 409)
    elif command == "preview" and training.state.get("previews_possible") is False:
        raise Refused("Connect Preview Settings, CLIP and VAE to Train for previews.", 409)
    else:
        training.ask(command)
