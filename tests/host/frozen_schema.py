"""What saved workflows and prompts rely on of the nodes, as ComfyUI tells it to the browser.

`schema_0_1_0.json` is what `described` gave for 0.1.0. It is never edited; a release adds a file.
"""

import json
from pathlib import Path
from typing import Any

from pack.nodes.extension import NODES

FROZEN = Path(__file__).parent / "schema_0_1_0.json"
OF_THE_MACHINE = {"model", "sampler", "scheduler"}
"""Choices that depend on the installed files or on ComfyUI's version."""


def frozen() -> dict[str, Any]:
    """What 0.1.0 had."""
    return json.loads(FROZEN.read_text(encoding="utf-8"))


def described() -> dict[str, Any]:
    """Every node by its id: inputs by group with type, default and choices; types of its outputs."""
    return {node.define_schema().node_id: _node(node) for node in NODES}


def widgets(node: dict[str, Any]) -> list[str]:
    """The names of a node's widgets in the browser's order, which is that of `widgets_values`."""
    inputs = [*node["required"].items(), *node["optional"].items()]
    return [name for name, spec in inputs if "default" in spec or "options" in spec]


def _node(node: Any) -> dict[str, Any]:
    types = node.INPUT_TYPES()
    groups = {
        group: {name: _input(name, *spec) for name, spec in types.get(group, {}).items()}
        for group in ("required", "optional")
    }
    return {**groups, "outputs": [*node.RETURN_TYPES]}


def _input(name: str, kind: Any, options: dict[str, Any]) -> dict[str, Any]:
    choices = kind if isinstance(kind, list) else options.get("options")
    found: dict[str, Any] = {"type": "COMBO" if isinstance(kind, list) else kind}
    if "default" in options:
        found["default"] = options["default"]
    if choices is not None:
        found["options"] = [] if name in OF_THE_MACHINE or "default" not in found else choices
    return found
