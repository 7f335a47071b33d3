"""Drives a real ComfyUI server: starts `main.py`, queues prompts, brings back results.

Standard library only. The server gets a private base directory; nothing is written into ComfyUI.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from .base import make_folders

START_TIMEOUT = 240.0
POLL = 0.05  # seconds between two questions
LOG_TAIL = 60
LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy


class ServerError(RuntimeError):
    """The server did not start, died, or answered with an error."""


class NodeError(ServerError):
    """A prompt was refused or a node failed; the message is the node's own."""


class ComfyServer:
    """A ComfyUI server for the length of a `with` block."""

    def __init__(
        self,
        comfyui: str | Path,
        base_directory: str | Path,
        python: str | Path = sys.executable,
        port: int = 0,
        arguments: tuple[str, ...] = (),
        log: str | Path | None = None,
        cpu: bool = True,
    ):
        self.comfyui = Path(comfyui).resolve()
        self.base_directory = Path(base_directory).resolve()
        self.log = Path(log) if log else self.base_directory / "server.log"
        self.port = port or _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client_id = uuid.uuid4().hex
        self._command = [str(python), "-u", str(self.comfyui / "main.py")]
        self._command += [*self._flags(cpu), *arguments]
        self._process: subprocess.Popen[bytes] | None = None
        self._log_file: IO[bytes] | None = None

    def __enter__(self) -> ComfyServer:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process and return when it answers."""
        make_folders(self.base_directory)
        self._log_file = self.log.open("wb")
        self._process = subprocess.Popen(
            self._command,
            cwd=self.base_directory,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=self._log_file,
            stderr=subprocess.STDOUT,
            start_new_session=os.name != "nt",  # Ctrl-C is ours to answer, here and there
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            self._check_alive()
            with contextlib.suppress(OSError, ValueError):
                self.get("/system_stats", timeout=5)
                return
            if time.monotonic() > deadline:
                raise ServerError(
                    f"ComfyUI did not answer within {START_TIMEOUT:.0f} s\n{self.tail()}"
                )
            time.sleep(POLL)

    def stop(self) -> None:
        """End the process with all its children."""
        if self._process is not None:
            _end_tree(self._process)
            self._process = None
        if self._log_file is not None:
            self._log_file.close()
            self._log_file = None

    @property
    def process_id(self) -> int | None:
        """Of the server's process; None while there is none."""
        return self._process.pid if self._process is not None else None

    def queue(self, prompt: dict[str, Any], workflow: dict[str, Any] | None = None) -> str:
        """Queue a prompt in API format; the prompt's id. A refusal names the nodes' complaints."""
        body: dict[str, Any] = {"prompt": prompt, "client_id": self.client_id}
        if workflow is not None:
            body["extra_data"] = {"extra_pnginfo": {"workflow": workflow}}
        try:
            answer = self.post("/prompt", body)
        except urllib.error.HTTPError as error:
            raise NodeError(_refusal(error.read().decode(errors="replace"))) from error
        if answer.get("node_errors"):  # ComfyUI would run the part that is valid
            raise NodeError(_refusal(json.dumps(answer)))
        return str(answer["prompt_id"])

    def wait(self, prompt_id: str, timeout: float = 600.0) -> dict[str, Any]:
        """The history entry of a finished prompt; raises `NodeError` with the node's message."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self._check_alive()
            entry = self.get(f"/history/{prompt_id}").get(prompt_id)
            if entry and entry.get("status", {}).get("completed"):
                return entry
            if entry and entry.get("status", {}).get("status_str") == "error":
                raise NodeError(_failure(entry))
            time.sleep(POLL)
        raise ServerError(f"The prompt did not finish within {timeout:.0f} s\n{self.tail()}")

    def run(self, prompt: dict[str, Any], timeout: float = 600.0) -> dict[str, Any]:
        """Queue and wait."""
        return self.wait(self.queue(prompt), timeout)

    def interrupt(self) -> None:
        """Cancel what runs now, as the browser's red X does."""
        self.post("/interrupt", {})

    def object_info(self) -> dict[str, Any]:
        """Every node's inputs and outputs."""
        return self.get("/object_info", timeout=60)

    def outputs(self, entry: dict[str, Any], node_id: str) -> list[Path]:
        """The files on disk that a node of a finished prompt shows."""
        shown = entry["outputs"].get(node_id, {}).get("images", [])
        return [
            self.base_directory / item["type"] / item["subfolder"] / item["filename"]
            for item in shown
        ]

    def get(self, path: str, timeout: float = 30.0) -> Any:
        """GET `path` and decode the JSON answer."""
        with LOCAL.open(self.url + path, timeout=timeout) as answer:
            return json.loads(answer.read())

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """POST JSON to `path` and decode the JSON answer, if any."""
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with LOCAL.open(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def tail(self, lines: int = LOG_TAIL) -> str:
        """The end of the server's log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _check_alive(self) -> None:
        if self._process is None or self._process.poll() is not None:
            code = self._process.returncode if self._process else None
            raise ServerError(f"ComfyUI ended (exit code {code})\n{self.tail()}")

    def _flags(self, cpu: bool) -> list[str]:
        """Arguments for `main.py`, without those that this version does not know."""
        database = self.base_directory / "user" / "comfyui.db"
        wanted = [
            *([["--cpu"]] if cpu else []),
            ["--base-directory", str(self.base_directory)],
            ["--listen", "127.0.0.1"],
            ["--port", str(self.port)],
            ["--disable-auto-launch"],
            ["--disable-api-nodes"],
            ["--database-url", f"sqlite:///{database.as_posix()}"],
        ]
        source = (self.comfyui / "comfy" / "cli_args.py").read_text(encoding="utf-8")
        known = set(re.findall(r"""["'](--[a-z0-9-]+)["']""", source))
        return [word for group in wanted if group[0] in known for word in group]

    def _environment(self) -> dict[str, str]:
        paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        if self._needs_templates_stub():
            stub = self.base_directory / "stubs"
            package = stub / "comfyui_workflow_templates"
            (package / "templates").mkdir(parents=True, exist_ok=True)
            (package / "__init__.py").touch()
            paths.insert(0, str(stub))
        extra = {
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            "PYTHONDONTWRITEBYTECODE": "1",  # the ComfyUI may be the user's
            "PYTHONUTF8": "1",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        }
        return {**os.environ, **extra}

    def _needs_templates_stub(self) -> bool:
        """Old versions serve a folder that newer template packages no longer have."""
        manager = self.comfyui / "app" / "frontend_management.py"
        return manager.exists() and "legacy_templates_path" not in manager.read_text(
            encoding="utf-8"
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _end_tree(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    if os.name == "nt":
        subprocess.run(
            ["taskkill", "/T", "/F", "/PID", str(process.pid)], capture_output=True, check=False
        )
        process.wait(30)
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
            return


def _refusal(text: str) -> str:
    """One line per complaint in the answer to a refused prompt."""
    try:
        answer = json.loads(text)
    except ValueError:
        return text
    lines = [_sentence(answer.get("error", {}))]
    for node_id, node in (answer.get("node_errors") or {}).items():
        for error in node.get("errors", []):
            lines.append(f"{node.get('class_type')} ({node_id}): {_sentence(error)}")
    return "\n".join(lines)


def _sentence(error: dict[str, Any]) -> str:
    return f"{error.get('message', '')} {error.get('details', '')}".strip()


def _failure(entry: dict[str, Any]) -> str:
    """What the failing node said, from the history entry."""
    for kind, data in entry["status"].get("messages", []):
        if kind == "execution_error":
            return (
                f"{data.get('node_type')} ({data.get('node_id')}): "
                f"{data.get('exception_type')}: {data.get('exception_message', '').strip()}"
            )
        if kind == "execution_interrupted":
            return f"{data.get('node_type')} ({data.get('node_id')}): interrupted"
    return "The prompt failed without a message"
