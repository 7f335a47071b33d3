"""Finds what a finished prompt left behind: the LoRA, before | after, previews, the loss plot."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

from .server import ComfyServer, ServerError

SAVED = "saved "
PICTURE = "before | after"
"""What the title of the node that shows the comparison holds."""
PREVIEWS = "previews"
"""What the title of the node that saves the training's previews holds; there may be none."""


class Results(NamedTuple):
    """The files that the main job is about."""

    lora: Path
    picture: Path
    previews: list[Path]
    loss_plot: Path

    def copied_to(self, folder: Path) -> Results:
        """Copies in the user's folder."""
        folder.mkdir(parents=True, exist_ok=True)
        lora, picture, *previews, plot = (
            Path(shutil.copy2(path, folder / path.name)) for _, path in self.named()
        )
        return Results(lora, picture, previews, plot)

    def named(self) -> list[tuple[str, Path]]:
        """Each file with what it is."""
        previews = [("Previews", path) for path in self.previews]
        return [
            ("LoRA", self.lora),
            ("Image", self.picture),
            *previews,
            ("Loss plot", self.loss_plot),
        ]


def collect(server: ComfyServer, prompt: dict[str, Any], entry: dict[str, Any]) -> Results:
    """The results of a finished prompt."""
    lora = _saved_lora(server, prompt, entry)
    plot = _first(server, entry, _nodes_after(prompt, "LoraLoopPlotLoss"), "loss plot")
    picture = _first(server, entry, _titled(prompt, PICTURE), f"image titled {PICTURE!r}")
    previews = [path for node in _titled(prompt, PREVIEWS) for path in server.outputs(entry, node)]
    return Results(lora, picture, previews, plot)


def _saved_lora(server: ComfyServer, prompt: dict[str, Any], entry: dict[str, Any]) -> Path:
    """Save LoRA shows the line `saved <path>`."""
    for key, node in prompt.items():
        for text in entry["outputs"].get(key, {}).get("text", []):
            if node["class_type"] == "LoraLoopSaveLora" and text.startswith(SAVED):
                return Path(text.removeprefix(SAVED))
    raise ServerError(f"The workflow ended without saying where its LoRA is\n{server.tail()}")


def _first(server: ComfyServer, entry: dict[str, Any], nodes: list[str], what: str) -> Path:
    for node in nodes:
        for path in server.outputs(entry, node):
            return path
    raise ServerError(f"The workflow ended without a {what}\n{server.tail()}")


def _titled(prompt: dict[str, Any], words: str) -> list[str]:
    return [key for key, node in prompt.items() if words in node["_meta"]["title"].lower()]


def _nodes_after(prompt: dict[str, Any], class_type: str) -> list[str]:
    """Nodes of the class, and those that show one of its outputs."""
    first = [key for key, node in prompt.items() if node["class_type"] == class_type]
    after = [
        key
        for key, node in prompt.items()
        if any(isinstance(v, list) and v and v[0] in first for v in node["inputs"].values())
    ]
    return first + after
