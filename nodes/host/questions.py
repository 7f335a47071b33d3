"""Questions that only a person can answer: a node asks, the browser shows them, the answer comes over HTTP.

A workflow can make a node ask. It cannot answer: that takes the id, which goes to the page alone, in a request
that only ComfyUI's own page can send.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .json_request import read_object, short_text
from .progress import prompt_server

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

    def ask(self, question: Question) -> bool:
        """Show a question on the page that queued the prompt; False where there is none."""
        server = prompt_server()
        if server is None or server.client_id not in server.sockets:
            return False
        with self._lock:
            same = (
                name for name, other in self._waiting.items() if _shown(other) == _shown(question)
            )
            name = next(same, None) or secrets.token_urlsafe(16)
            self._waiting[name] = question
            for old in list(self._waiting)[:-MOST]:
                del self._waiting[old]
        server.send_sync(EVENT, {"id": name, **_shown(question)}, server.client_id)
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


def is_same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a page of this very server sent a request: browsers say so, and pages cannot forge it.

    Without encryption they leave ``Sec-Fetch-Site`` out, and then ``Origin`` must name the server.
    """
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    try:
        origin = urlsplit(headers.get("Origin", "")).netloc.lower()
    except ValueError:
        return False
    return bool(origin) and origin == headers.get("Host", "").lower()


def add_routes() -> None:
    """Let ComfyUI's server take answers; nothing where there is no server."""
    server = prompt_server()
    if server is None:
        return
    from aiohttp import web  # ComfyUI's own

    @server.routes.post(ANSWER)
    async def answer(request: Any) -> Any:
        def refused(why: str, status: int) -> Any:
            return web.json_response({"error": why}, status=status)

        if not is_same_origin(request.headers):
            return refused("Only the page of this ComfyUI can answer.", 403)
        if request.content_type != "application/json":
            return refused("Send JSON.", 415)
        try:
            name = short_text(await read_object(request), "question")
        except ValueError as error:
            return refused(str(error), 400)
        loop = asyncio.get_running_loop()
        try:
            done = await loop.run_in_executor(None, QUESTIONS.answer, name)
        except (ValueError, OSError) as error:
            return refused(f"It could not be done: {error}", 409)
        if done is None:
            return refused("This question does not wait any more. Queue again.", 409)
        return web.json_response({"done": done})
