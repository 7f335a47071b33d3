"""A training that lets other prompts run: it ends its turn in ComfyUI's queue, and takes another one later.

The state of the run is on the disk by then, as after a cancel, so nothing is lost whatever the other prompt
does; and the model's memory is the other prompt's. The next turn is the same prompt under the same id, whose
nodes before Train ComfyUI has in its cache, or makes again.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import comfy.model_management as mm

from ....trainer.training.loop import StepEvent
from ..progress import Server, prompt_server, running_item
from .trainings import TRAININGS, Training

TRAIN = "LoraLoopTrain"
WAITED = 60.0
"""Seconds in which ComfyUI has put a prompt that ended its turn into its history, at most."""

Item = tuple[Any, ...]
"""Of ComfyUI's queue: (number, prompt id, prompt, extra data, outputs, …); the lowest number is next."""


class Turns:
    """A follower of the steps, the last of all: ends the turn where it was asked to pause, or gives way.

    give_way: whether to end the turn for any prompt that waits. Prompts that train wait themselves: else
    two of them would go on giving way to each other.
    """

    def __init__(self, training: Training, give_way: bool) -> None:
        self._training, self._gives_way = training, give_way

    def on_step(self, event: StepEvent) -> None:
        """Told after every step. Raises ComfyUI's interrupt where the turn is over."""
        if event.step >= event.steps or self._training.stops:
            return
        pauses = self._training.takes("pause")
        item, server = running_item(), prompt_server()
        if item is None or server is None or not (pauses or self._waits(server)):
            return
        at = f"step {event.step} of {event.steps}"
        if pauses:
            PAUSED.keep(self._training, item)
            self._training.over("paused", f"paused at {at}")
        else:
            take_turn(server, item, front=False)
            self._training.over(
                "waiting", f"at {at} another prompt's turn; training goes on by itself"
            )
        _forget_turn(server, item[1])
        raise mm.InterruptProcessingException

    def _waits(self, server: Server) -> bool:
        return self._gives_way and somebody_waits(server)


def somebody_waits(server: Server) -> bool:
    """Whether a prompt waits that trains nothing."""
    waiting = server.prompt_queue.get_current_queue_volatile()[1]
    return any(not _trains(item[2]) for item in waiting)


def take_turn(server: Server, item: Item, *, front: bool) -> None:
    """Queue a prompt that has run once more: as the next, or behind all that wait."""
    number, server.number = server.number, server.number + 1
    server.prompt_queue.put((-number if front else number, *item[1:]))


def _trains(prompt: Any) -> bool:
    return any(node.get("class_type") == TRAIN for node in prompt.values())


def _forget_turn(server: Server, prompt_id: str) -> None:
    """Take the turn out of ComfyUI's history as it comes there: who waits for the prompt waits for its end."""
    queue = server.prompt_queue

    def forget() -> None:
        until = time.monotonic() + WAITED
        while time.monotonic() < until:
            with queue.mutex:
                if prompt_id in queue.history:
                    queue.delete_history_item(prompt_id)
                    return
            time.sleep(0.005)

    with queue.mutex:
        queue.history.pop(prompt_id, None)  # of an earlier turn
    threading.Thread(target=forget, daemon=True, name="lora-loop-turn").start()


def tell_lost_turns() -> None:
    """Tell of trainings whose next turn somebody has taken out of the queue."""
    server = prompt_server()
    if server is None:
        return
    running, waiting = server.prompt_queue.get_current_queue_volatile()
    queued = {item[1] for item in (*running, *waiting)}
    for training in TRAININGS.known():
        state = training.state
        if state["state"] == "waiting" and state["prompt"] not in queued:
            at = f"{state['step']} of {state['steps']}"
            training.over(
                "cancelled",
                f"its prompt was taken out of the queue, or ended before Train, at step {at}; Run goes on from there",
            )


class Paused:
    """The prompts of trainings that wait until somebody says go on."""

    def __init__(self) -> None:
        self._items: dict[Training, Item] = {}

    def keep(self, training: Training, item: Item) -> None:
        """Keep the prompt of a training for `resume`."""
        self._items = {one: kept for one, kept in self._items.items() if kept[1] != item[1]}
        self._items[training] = item

    def resume(self, training: Training) -> bool:
        """Queue its prompt as the next one; False where it is not paused."""
        server, item = prompt_server(), self._items.pop(training, None)
        if server is None or item is None:
            return False
        take_turn(server, item, front=True)
        training.over("waiting", "goes on with its next turn")
        return True


PAUSED = Paused()
