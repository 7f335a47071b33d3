"""Routes of ours on ComfyUI's server: who may ask, what a request holds, how a refusal is said.

A route answers with a JSON object, or with the bytes of an image; a refusal is ``{"error": sentence}`` with a
status. Answers are found in a thread, so that the server goes on meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from ..progress import prompt_server
from .json_request import MOST_BYTES, read_object


class Refused(Exception):
    """A request that is not answered. status: HTTP's, 404 for what is not there, 409 for a wrong moment."""

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.status = status


class Picture(NamedTuple):
    """An image as the answer. seconds: how long the page may keep it, 0 when it can change."""

    body: bytes
    kind: str = "image/jpeg"
    seconds: int = 0


Answer = Callable[[dict[str, Any]], "dict[str, Any] | Picture"]
"""Given what a GET's query or a POST's JSON object holds. Called in a thread.

Raises:
    Refused: with the status that it says.
    ValueError: 400.
    OSError: 409.
"""


def add_route(
    method: Literal["GET", "POST"],
    path: str,
    answer: Answer,
    *,
    page_only: bool = False,
    most: int = MOST_BYTES,
) -> None:
    """Let ComfyUI's server answer; nothing where there is no server.

    page_only: for what a person has to say on ComfyUI's page, which a program cannot. most: bytes of a request's body.
    """
    server = prompt_server()
    if server is None:
        return
    from aiohttp import web  # ComfyUI's own

    async def handle(request: Any) -> Any:
        try:
            _check(request, page_only)
            asked = dict(request.query) if method == "GET" else await read_object(request, most)
            found = await asyncio.get_running_loop().run_in_executor(None, answer, asked)
        except Refused as error:
            return web.json_response({"error": str(error)}, status=error.status)
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        except OSError as error:
            return web.json_response({"error": f"It could not be done: {error}"}, status=409)
        if isinstance(found, Picture):
            keep = f"private, max-age={found.seconds}" if found.seconds else "no-store"
            headers = {"Cache-Control": keep, "X-Content-Type-Options": "nosniff"}
            return web.Response(body=found.body, content_type=found.kind, headers=headers)
        return web.json_response(found)

    server.routes.route(method, path)(handle)


def _check(request: Any, page_only: bool) -> None:
    """Raise Refused where the request cannot come from our page, or from a program."""
    if not (is_same_origin if page_only else is_not_foreign)(request.headers):
        raise Refused("Only the page of this ComfyUI can ask.", 403)
    # A page of another site cannot send this type without asking, and will not be answered.
    if request.method == "POST" and request.content_type != "application/json":
        raise Refused("Send JSON.", 415)


def is_not_foreign(headers: Mapping[str, str]) -> bool:
    """Whether no page of another site sent a request: one of ours did, the address bar, or a program."""
    site = headers.get("Sec-Fetch-Site")
    if site == "none" or (site is None and "Origin" not in headers):
        return True
    return is_same_origin(headers)


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
