"""Follows a server's websocket and tells what runs, in plain lines."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any

LINE_EVENT = "lora_loop.node"  # what our nodes say
EVERY = 3.0  # seconds between two lines about one node

Say = Callable[[str], None]


class Follower:
    """Prints progress while a `with` block waits; a lost connection only ends the lines."""

    def __init__(self, url: str, client_id: str, titles: dict[str, str], say: Say):
        self._address = f"{url}/ws?clientId={client_id}"
        self._titles = titles
        self._say = say
        self._last = ("", 0.0)
        self._talkers: set[str] = set()  # nodes with a text of their own: their bar says less
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Follower:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *details: object) -> None:
        self._stop.set()
        self._thread.join(5)

    def _run(self) -> None:
        import aiohttp

        try:
            asyncio.run(self._listen())
        except (aiohttp.ClientError, OSError) as error:
            self._say(f"(no progress lines: {error})")
        finally:
            self._ready.set()

    async def _listen(self) -> None:
        import aiohttp

        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(self._address, max_msg_size=0) as socket,
        ):
            self._ready.set()
            while not self._stop.is_set() and not socket.closed:
                try:
                    message = await socket.receive(timeout=0.5)
                except asyncio.TimeoutError:
                    continue
                if message.type == aiohttp.WSMsgType.TEXT:
                    self._on_json(json.loads(message.data))

    def _on_json(self, message: dict[str, Any]) -> None:
        data = message.get("data") or {}
        node = str(data.get("display_node") or data.get("node") or "")
        if message.get("type") == "executing" and node:
            self._say(f"- {self._title(node)}")
            self._last = (node, time.monotonic())
        elif message.get("type") == LINE_EVENT and data.get("line"):
            self._talkers.add(node)
            self._line(node, data["line"])
        elif message.get("type") == "progress" and node and node not in self._talkers:
            self._line(node, f"{data.get('value')}/{data.get('max')}")

    def _line(self, node: str, text: str) -> None:
        """One line, unless one about the same node has just been said."""
        last, when = self._last
        if last == node and time.monotonic() - when < EVERY:
            return
        self._last = (node, time.monotonic())
        self._say(f"  {self._title(node)}: {text}")

    def _title(self, node: str) -> str:
        return self._titles.get(node.split(":")[0], node)
