"""Progress as the page shows it: ComfyUI's bar, and a line of text on the node."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, Protocol

import comfy.model_management as mm
import comfy.utils

from ...trainer.training.loop import StepEvent
from ...trainer.training.loss_by_timestep import describe

log = logging.getLogger(__name__)

EVENT = "lora_loop.node"
"""Sent to every browser: {"node": id, "workflow": id or null, "line": text}. Train adds "training" (see
nodes/host/training/trainings.py). ComfyUI's own progress text makes a node larger, which a saved workflow keeps."""
LOG_STEPS = 100
LONGEST_LINE = 500

_ALIKE = {"<": "\u2039", "&": "\uff06"}
_MARKUP = re.compile(r"<(?![ \d=-])|&(?=#?\w{1,31};)")
"""What begins a tag or a comment, and what stands for another character."""

line = logging.getLogger(f"{__name__}.line")
"""Told what a node would show when there is no browser to show it in."""


class Server(Protocol):
    """What is used of ComfyUI's PromptServer (server.py)."""

    @property
    def routes(self) -> Any:
        """aiohttp's RouteTableDef."""
        ...

    @property
    def client_id(self) -> str | None:
        """The page that queued the prompt that runs, or None."""
        ...

    @property
    def sockets(self) -> Mapping[str | None, Any]:
        """The pages that are open, by their ids."""
        ...

    number: float
    """Of the next prompt; the lowest number is the first to run."""

    @property
    def prompt_queue(self) -> Any:
        """What runs and what waits (execution.py)."""
        ...

    def send_sync(self, event: str, data: object, sid: str | None = None) -> None:
        """Send an event to one page, or to every browser; from any thread."""
        ...


class NodeProgress:
    """The progress of one node. node_id: None when nobody watches (headless)."""

    def __init__(self, total: int, node_id: str | None) -> None:
        self._bar = comfy.utils.ProgressBar(total, node_id=node_id)
        self._total = total
        self._node_id = node_id

    def update(self, done: int, text: str = "") -> None:
        """Move the bar, and show a line if there is one. May raise an interrupt."""
        self._bar.update_absolute(done, self._total)
        if text:
            self.say(text)

    def say(self, text: str) -> None:
        """Show a line of text on the node."""
        tell_page(self._node_id, text)


def tell_page(node_id: str | None, text: str, **more: Any) -> None:
    """Send a line about a node, and what else is known of it, to every browser; to the log if nobody watches."""
    server = prompt_server()
    shown = page_text(text)[:LONGEST_LINE]
    if server is None or node_id is None:
        line.info(shown)
    else:
        server.send_sync(EVENT, {"node": node_id, "workflow": workflow_id(), "line": shown, **more})


def running_item() -> tuple[Any, ...] | None:
    """What ComfyUI's queue runs: (number, prompt id, prompt, extra data, outputs, …); None outside of it."""
    server = prompt_server()
    items = [] if server is None else list(server.prompt_queue.currently_running.values())
    return items[0] if items else None


def workflow_id() -> str | None:
    """The id of the workflow that runs, as its page knows it; None where a program queued the prompt."""
    item = running_item()
    known: Any = item[3] if item else None
    for name in ("extra_pnginfo", "workflow", "id"):
        known = known.get(name) if isinstance(known, Mapping) else None
    return known if isinstance(known, str) else None


def page_text(text: str) -> str:
    """A text with names of files in it for the page: nothing in it can be taken for markup.

    Some frontends put it into the page as it is, others escape it, so the signs are exchanged for ones
    that look alike.
    """
    shown = text.encode("utf-8", "replace").decode()  # a file's name may be no text
    return _MARKUP.sub(lambda found: _ALIKE[found[0]], shown)


def prompt_server() -> Server | None:
    """ComfyUI's server; None in a process without one."""
    server: Any = sys.modules.get("server")
    return getattr(getattr(server, "PromptServer", None), "instance", None)


def check_interrupt() -> None:
    """Raise ComfyUI's own exception when the user pressed cancel."""
    mm.throw_exception_if_processing_interrupted()


class BandLog:
    """Says the loss by timestep in the log, every hundred steps and at the end."""

    def on_step(self, event: StepEvent) -> None:
        """Told after every step."""
        if event.step % LOG_STEPS == 0 or event.step == event.steps:
            found = describe(event.bands)
            log.info("LoRA Loop: step %d, loss by timestep: %s", event.step, found)


def step_text(event: StepEvent) -> str:
    """One line: step, loss, speed, time left."""
    speed = event.timed / event.seconds if event.seconds else 0.0
    left = (event.steps - event.step) / speed if speed else 0.0
    rate = f"{speed:.2f} it/s" if speed >= 1 or not speed else f"{1 / speed:.2f} s/it"
    return f"step {event.step}/{event.steps} · loss {event.loss:.4f} · {rate} · {_clock(left)} left"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
