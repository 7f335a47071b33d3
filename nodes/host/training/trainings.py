"""The trainings of this process as pages see them, and what pages ask of them.

A page hears of a training by the event of nodes/host/progress.py, whose "training" is what `Training.state`
says, and asks for all of them at ``GET /lora_loop/training``, so that it can come in the middle.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import comfy.model_management as mm
import torch

from ....trainer.curves.measurement import Measurement
from ....trainer.curves.smoothing import SPAN, Average, smooth
from ....trainer.runs.run_folder import Result
from ....trainer.training.loop import StepEvent
from ..previews.preview_book import PreviewBook
from ..progress import running_item, tell_page, workflow_id
from .live_training import Join, LiveTraining

COMMANDS = ("stop", "pause", "checkpoint", "preview")
"""What can be asked of a training that runs; it is done after the step that is under way."""
GOES_ON = ("preparing", "training")
"""The states of a training that takes commands. The others: paused, waiting (it gave way to another prompt
and goes on by itself), ended, cancelled, failed."""
BETWEEN = 0.25
"""Seconds between two events about steps."""
REMEMBERED = 20
"""Trainings that are told of when they are over, the latest."""


class Training:
    """One training, for its pages. node_id: None when nobody watches (headless)."""

    def __init__(self, node_id: str | None, run: str, steps: int) -> None:
        item = running_item()
        self.node_id, self.workflow = node_id, workflow_id()
        self._asked: set[str] = set()
        self.stops = False
        self._sent, self._points = 0.0, []
        self._average = Average(SPAN)
        self._device = torch.device("cpu")
        self._measurement: Callable[[int], Measurement | None] = lambda step: None
        self.state: dict[str, Any] = {
            "workflow": self.workflow,
            "prompt": item[1] if item else None,
            "run": run,
            "state": "preparing",
            "step": 0,
            "steps": steps,
            "line": "",
        }

    def ask(self, command: str) -> None:
        """Do one of COMMANDS after the step that is under way. From any thread."""
        self._asked.add(command)

    def takes(self, command: str) -> bool:
        """Whether it was asked for that; it is done then."""
        was_asked = command in self._asked
        self._asked.discard(command)
        return was_asked

    def say(self, text: str) -> None:
        """A line about what is done just now, or about how it ended."""
        self.state["line"] = text
        self._tell()

    def mark(self, kind: str, step: int) -> None:
        """Something has come after that step: a preview, a checkpoint."""
        self._tell(marks=[{"kind": kind, "step": step}])

    def watching(
        self, previews: bool, measurement: Callable[[int], Measurement | None] = lambda step: None
    ) -> Join:
        """Who tells the pages of every step. previews: whether they can be asked for; measurement: the
        validation after a step, so to be told of a step after that is done."""

        def join(live: LiveTraining) -> Training:
            for loss in live.loop.losses:
                self._average.add(loss)
            self.state |= {
                "state": "training",
                "step": live.step,
                "epochs": live.epochs,
                "plan": live.plan,
                "previews_possible": previews,
            }
            self._device, self._measurement = live.model.device, measurement
            self._tell()
            self._sent = 0.0  # the first step is told at once
            return self

        return join

    def on_step(self, event: StepEvent) -> str | None:
        """Told after every step. The sentence that ends the run, where it was asked to stop."""
        found, smoothed = self._measurement(event.step), self._average.add(event.loss)
        point = event.step, event.seconds, event.loss, smoothed, event.learning_rate
        self._points.append([*point, None if found is None else found.difference])
        speed = event.timed / event.seconds if event.seconds else None
        self.state |= {
            "step": event.step,
            "epoch": event.epoch,
            "speed": speed,
            "left": (event.steps - event.step) / speed if speed else None,
            "peak_vram": _peak(self._device),
        }
        if time.monotonic() - self._sent >= BETWEEN or event.step == event.steps:
            self._tell()
        self.stops = self.takes("stop")
        if not self.stops:
            return None
        return f"Stopped by the user after step {event.step} of {event.steps}; what was reached is kept."

    def over(self, state: str, line: str, **more: Any) -> None:
        """It ended, or stands still."""
        self.state |= {"state": state, "line": line, **more}
        self._tell()

    def _tell(self, **more: Any) -> None:
        points, self._points, self._sent = self._points, [], time.monotonic()
        told = {**self.state, "points": [_finite(point) for point in points], **more}
        tell_page(self.node_id, told.pop("line"), training=told)


class Trainings:
    """The trainings of this process, by workflow and node: those that run, and the latest that are over."""

    def __init__(self) -> None:
        self._known: dict[tuple[str | None, str], Training] = {}
        self._lock = threading.Lock()

    @contextmanager
    def running(self, node_id: str | None, run: str, steps: int) -> Iterator[Training]:
        """A training from its beginning to its end, however that comes."""
        training = Training(node_id, run, steps)
        if node_id is not None:
            with self._lock:
                self._known.pop((training.workflow, node_id), None)
                self._known[training.workflow, node_id] = training
                for old in list(self._known)[:-REMEMBERED]:
                    del self._known[old]
            training.say("preparing")
        try:
            yield training
        except mm.InterruptProcessingException:
            if training.state["state"] in GOES_ON:
                training.over("cancelled", _cancelled(training.state))
            raise
        except BaseException as error:
            training.over("failed", f"{error}" or type(error).__name__)
            raise

    def find(self, node_id: str, workflow: str | None = None) -> Training | None:
        """The latest training of a node, of that workflow if one is given."""
        for training in reversed(self.known()):
            if training.node_id == node_id and workflow in (None, training.workflow):
                return training
        return None

    def known(self) -> list[Training]:
        """All that are known, the latest last."""
        with self._lock:
            return list(self._known.values())

    def describe(self) -> list[dict[str, Any]]:
        """The same for a page."""
        return [{"node": training.node_id, **training.state} for training in self.known()]


TRAININGS = Trainings()


def outputs_of(result: Result, book: PreviewBook) -> dict[str, list[Any]]:
    """What ComfyUI keeps of the node for pages and for its history."""
    told = {**result_of(result), "previews": book.results()}
    return {"text": [result.summary()], "lora_loop": [told]}


def result_of(result: Result) -> dict[str, Any]:
    """What a page is told of a result: where the LoRA lies, how many steps, the smoothed loss, the best step."""
    best = result.best_validation
    return {
        "run": result.path.parent.name,
        "path": str(result.path) if result.written else None,
        "steps": len(result.losses),
        "loss": _finite([smooth(result.losses, SPAN)[-1]])[0],
        "best": None if best is None else best.step,
        "stopped": result.stopped,
        "trained": result.trained,
    }


def _cancelled(state: dict[str, Any]) -> str:
    if not state["step"]:
        return "cancelled before the first step"
    return f"stopped at step {state['step']} of {state['steps']}; Run goes on from there"


def _peak(device: torch.device) -> int | None:
    """The most bytes of the card that tensors have taken so far."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def _finite(numbers: list[Any]) -> list[Any]:
    """JSON has no other numbers."""
    return [None if one is None or not math.isfinite(one) else one for one in numbers]
