"""Prompts for the tests: the example workflows made small, and questions to what a server did."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path
from typing import Any

from pack.demo.progress import LINE_EVENT, Follower
from pack.demo.prompt import to_prompt

Prompt = dict[str, Any]

EXAMPLE_TRIGGER = "my_trigger_word"

STATE_STEPS = 20
"""How often the tests' server saves the state of a training."""

SMALL: dict[str, dict[str, Any]] = {
    "LoraLoopCacheLatents": {"resolution": 64, "min_reso": 32, "max_reso": 128, "step": 32},
    "LoraLoopOptimiserSettings": {"learning_rate": 1e-3},
    "LoraLoopPreviewSettings": {"every": 0, "width": 64, "height": 64, "steps": 2},
    "LoraLoopTrain": {"steps": 2, "learning_rate": 1e-3},
    "LoraLoopTrainSlider": {
        "steps": 2, "learning_rate": 1e-2, "resolution": 64, "sampling_steps": 2,
    },
    "EmptyLatentImage": {"width": 64, "height": 64},
    "KSampler": {"steps": 2},
}  # fmt: skip


TRIGGER = "mychar"
"""What a test types where the example workflows ask for a trigger word."""


def workflow(root: Path, name: str) -> dict[str, Any]:
    """An example workflow as the browser saves it, by the name without the pack's."""
    path = root / "example_workflows" / f"lora_loop_{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def example(root: Path, name: str, info: dict[str, Any]) -> Prompt:
    """The prompt of an example workflow, with a trigger word and else unedited."""
    prompt = to_prompt(workflow(root, name), info)
    for node in prompt.values():
        for key, value in node["inputs"].items():
            if isinstance(value, str):
                node["inputs"][key] = value.replace(EXAMPLE_TRIGGER, TRIGGER)
    return prompt


def small(prompt: Prompt, test: str) -> Prompt:
    """The prompt with sizes that take seconds, and a training seed that only this test has."""
    for node in prompt.values():
        node["inputs"].update(SMALL.get(node["class_type"], {}))
    (train,) = keys(prompt, "LoraLoopTrain") + keys(prompt, "LoraLoopTrainSlider")
    prompt[train]["inputs"]["seed"] = zlib.crc32(test.encode())
    return prompt


def keys(prompt: Prompt, class_type: str, word: str = "") -> list[str]:
    """Ids of the nodes of a class whose title has the word."""
    return [
        node_id
        for node_id, node in prompt.items()
        if node["class_type"] == class_type and word in node["_meta"]["title"].lower()
    ]


def key(prompt: Prompt, class_type: str, word: str = "") -> str:
    """The one node of a class, or the one whose title has the word."""
    (found,) = keys(prompt, class_type, word)
    return found


def inputs(prompt: Prompt, class_type: str, word: str = "") -> dict[str, Any]:
    """The inputs of that node, to be changed."""
    return prompt[key(prompt, class_type, word)]["inputs"]


def add(
    prompt: Prompt, info: dict[str, Any], node_id: str, class_type: str, **values: Any
) -> list[Any]:
    """Add a node with the defaults of its inputs; its first output."""
    specs = info[class_type]["input"].get("required", {})
    filled = {name: _default(spec) for name, spec in specs.items() if name not in values}
    known = {k: v for k, v in filled.items() if v is not None}
    prompt[node_id] = {
        "class_type": class_type,
        "inputs": {**known, **values},
        "_meta": {"title": node_id},
    }
    return [node_id, 0]


def keep(prompt: Prompt, *node_ids: str) -> Prompt:
    """Only these nodes and what they need."""
    needed: set[str] = set()
    waiting = list(node_ids)
    while waiting:
        node_id = waiting.pop()
        if node_id not in needed:
            needed.add(node_id)
            links = [v for v in prompt[node_id]["inputs"].values() if isinstance(v, list)]
            waiting += [link[0] for link in links]
    return {node_id: node for node_id, node in prompt.items() if node_id in needed}


def training_only(prompt: Prompt) -> Prompt:
    """The prompt as far as Train, and the loss plot that makes it run."""
    return keep(prompt, key(prompt, "SaveImage", "loss"))


def cached(entry: dict[str, Any]) -> set[str]:
    """Nodes of a finished prompt that ComfyUI did not execute."""
    found: set[str] = set()
    for kind, data in entry["status"]["messages"]:
        if kind == "execution_cached":
            found |= set(data["nodes"])
    return found


def results(server: Any) -> dict[Path, int]:
    """The result files of all runs, with their times: a training adds or changes one."""
    runs = server.base_directory / "output" / "lora_loop" / "runs"
    return {path: path.stat().st_mtime_ns for path in runs.glob("*/*.safetensors")}


class Recorder(Follower):
    """Keeps what the websocket brings: lines and bars by node, and the states of trainings."""

    def __init__(self, server: Any):
        super().__init__(server.url, server.client_id, {}, self.complaint)
        self.texts: list[tuple[str, str]] = []
        self.bars: list[tuple[str, int, int]] = []
        self.trainings: list[dict[str, Any]] = []
        self.complaints: list[str] = []

    def complaint(self, text: str) -> None:
        self.complaints.append(text)

    def steps(self, node: str) -> list[re.Match[str]]:
        """The lines about steps: step, of how many, loss, speed, time left."""
        pattern = re.compile(
            r"step (\d+)/(\d+) · loss ([\d.]+) · ([\d.]+) (?:it/s|s/it) · ([\d:]+) left"
        )
        found = [pattern.fullmatch(text) for who, text in self.texts if who == node]
        return [match for match in found if match]

    def _on_json(self, message: dict[str, Any]) -> None:
        data = message.get("data") or {}
        if message.get("type") == "progress":
            self.bars.append((str(data["node"]), data["value"], data["max"]))
        elif message.get("type") == LINE_EVENT:
            self.texts.append((str(data["node"]), data["line"]))
            if "training" in data:
                self.trainings.append({"node": data["node"], **data["training"]})


def _default(spec: list[Any]) -> Any:
    kind, options = spec[0], (spec[1:] or [{}])[0]
    if isinstance(kind, list):
        return options.get("default", kind[0] if kind else None)
    if kind == "COMBO":
        return options.get("default", options["options"][0])
    return options.get("default")
