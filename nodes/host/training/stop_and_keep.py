"""Stop and keep: the browser asks a running training to end with what it has reached."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ....trainer.training.loop import StepEvent
from ..progress import prompt_server
from ..web.json_request import short_text
from ..web.routes import Refused, add_route

STOP, TRAINING = "/lora_loop/stop", "/lora_loop/training"
"""POST {"node": id} asks that node's training to stop; GET lists the nodes that train, {"nodes": [id]}."""
EVENT = "lora_loop.training"
"""Sent to every browser, with the same list, whenever it changes."""


class Stop:
    """Whether one training was asked to stop; follows its steps."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def ask(self) -> None:
        """End after the step that is under way. From any thread."""
        self._asked.set()

    def on_step(self, event: StepEvent) -> str | None:
        """The sentence that ends the run, once asked."""
        if not self._asked.is_set():
            return None
        return f"Stopped by the user after step {event.step} of {event.steps}; what was reached is kept."


class Trainings:
    """The trainings of this process that can be stopped, by the id of their node."""

    def __init__(self) -> None:
        self._stops: dict[str, Stop] = {}

    @property
    def nodes(self) -> list[str]:
        return list(self._stops)

    @contextmanager
    def running(self, node_id: str | None) -> Iterator[Stop]:
        """A training, for as long as it runs. node_id: None when nobody watches (headless)."""
        stop = Stop()
        if node_id is None:
            yield stop
            return
        self._stops[node_id] = stop
        self._tell()
        try:
            yield stop
        finally:
            del self._stops[node_id]
            self._tell()

    def stop(self, node_id: str) -> bool:
        """Ask a node's training to stop; False when it does not train."""
        stop = self._stops.get(node_id)
        if stop is not None:
            stop.ask()
        return stop is not None

    def _tell(self) -> None:
        server = prompt_server()
        if server is not None:
            server.send_sync(EVENT, {"nodes": self.nodes})


TRAININGS = Trainings()


def add_routes() -> None:
    """Let ComfyUI's server answer the browser; nothing where there is no server."""
    add_route("POST", STOP, _stop)
    add_route("GET", TRAINING, lambda asked: {"nodes": TRAININGS.nodes})


def _stop(asked: dict[str, Any]) -> dict[str, Any]:
    node = short_text(asked, "node")
    if not TRAININGS.stop(node):
        raise Refused(f"Node {node} is not training.", 409)
    return {"node": node}
