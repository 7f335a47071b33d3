"""Questions that only a person can answer: a node asks, the browser shows them, the answer comes over HTTP.

A workflow can make a node ask. It cannot answer: that takes the id, which goes to the page alone, in a request
that only ComfyUI's own page can send.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .progress import prompt_server
from .web.json_request import short_text
from .web.routes import Refused, add_route

ANSWER = "/lora_loop/answer"
"""POST {"question": id} says yes; the answer is {"done": text}. Nothing is sent for no."""
EVENT = "lora_loop.question"
"""Sent to the page that queued the prompt: id, title, text, items and the word for yes."""
MOST = 20
"""So many questions wait for an answer, the last asked."""


@dataclass(frozen=True)
class Question:
    """What the browser shows, and what ``do`` does when the person says yes; it returns a text about it.

    ``do`` runs in a thread of its own and raises ValueError or OSError when it cannot be done.
    """

    title: str
    text: str
    items: tuple[str, ...]
    yes: str
    do: Callable[[], str]


class Questions:
    """The questions of this process that wait for an answer, by id."""

    def __init__(self) -> None:
        self._waiting: dict[str, Question] = {}
        self._lock = threading.Lock()

    def ask(self, question: Question, page: str | None = None) -> bool:
        """Show a question on the page of this id, else on the one that queued the prompt; False where there is none."""
        server = prompt_server()
        if server is None:
            return False
        page = page or server.client_id
        if page not in server.sockets:
            return False
        with self._lock:
            same = (
                name for name, other in self._waiting.items() if _shown(other) == _shown(question)
            )
            name = next(same, None) or secrets.token_urlsafe(16)
            self._waiting[name] = question
            for old in list(self._waiting)[:-MOST]:
                del self._waiting[old]
        server.send_sync(EVENT, {"id": name, **_shown(question)}, page)
        return True

    def answer(self, name: str) -> str | None:
        """Do what was asked for, once; None if no such question waits."""
        with self._lock:
            question = self._waiting.pop(name, None)
        return None if question is None else question.do()


QUESTIONS = Questions()


def _shown(question: Question) -> dict[str, Any]:
    """What the page is told. The same question again has the same id, so that it is shown once."""
    return {
        "title": question.title,
        "text": question.text,
        "items": [plain(item) for item in question.items],
        "yes": question.yes,
    }


def plain(text: str) -> str:
    """A name as it can be shown: what is not printable, or turns the direction of writing, by its number."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def add_routes() -> None:
    """Let ComfyUI's server take answers; nothing where there is no server."""
    add_route("POST", ANSWER, _answer, page_only=True)


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    name = short_text(asked, "question")
    try:
        done = QUESTIONS.answer(name)
    except (ValueError, OSError) as error:
        raise Refused(f"It could not be done: {error}", 409) from error
    if done is None:
        raise Refused("This question does not wait any more. Queue again.", 409)
    return {"done": done}
