"""One process at a time in a folder, also where its owner was killed."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

NAME = "lock.json"
BEAT_SECONDS = 10.0
STALE_SECONDS = 60.0
"""A lock without a heartbeat for so long belongs to nobody, should its process be on another machine."""


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold the folder, which is made, until the end of the block.

    Raises:
        ValueError: a living process holds it; says which.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    _take(path)
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, stop), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        path.unlink(missing_ok=True)


def owner(folder: Path) -> str | None:
    """Who holds the folder; None if nobody does, or its process is gone."""
    return _living_owner(folder / NAME)


def _take(path: Path) -> None:
    while True:
        try:
            with path.open("x", encoding="utf-8") as file:
                json.dump({"host": socket.gethostname(), "pid": os.getpid()}, file)
            return
        except FileExistsError:
            owner = _living_owner(path)
            if owner is not None:
                raise ValueError(
                    f"Another ComfyUI ({owner}) is training this very run in {path.parent}. Wait for it, "
                    "or stop it there."
                ) from None
            path.unlink(missing_ok=True)


def _living_owner(path: Path) -> str | None:
    """Who holds the lock; None if it is free, or its process is gone."""
    try:
        age, text = time.time() - path.stat().st_mtime, path.read_text("utf-8")
    except FileNotFoundError:
        return None
    if age > STALE_SECONDS:
        return None
    try:
        owner = json.loads(text)
        host, pid = str(owner["host"]), int(owner["pid"])
    except (ValueError, TypeError, LookupError):  # about to be written, or cut off by a kill
        return "which one is not known yet"
    is_here = host == socket.gethostname()
    return f"process {pid} on {host}" if not is_here or psutil.pid_exists(pid) else None


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(BEAT_SECONDS):
        try:
            os.utime(path)
        except OSError:  # a drive that is away for a moment
            continue
