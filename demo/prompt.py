"""Workflow files as the browser saves them → prompts as the server takes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

NOT_EXECUTED = {"Reroute", "PrimitiveNode", "Note", "MarkdownNote"}
MUTED, BYPASSED = 2, 4
WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
CONTROL_WORDS = {"fixed", "increment", "decrement", "randomize"}

Json = dict[str, Any]


def to_prompt(workflow: Json, object_info: Json) -> Json:
    """Convert a UI-format workflow as the browser would do at Queue.

    Muted and bypassed nodes, reroutes, primitives and notes are resolved away. Subgraphs are not
    supported. Unknown node types raise `ValueError` naming them.
    """
    graph = _Graph(workflow)
    nodes = [node for node in workflow["nodes"] if _is_executed(node)]
    unknown = sorted({node["type"] for node in nodes} - object_info.keys())
    if unknown:
        raise ValueError(f"This ComfyUI does not have the nodes {', '.join(unknown)}")
    return {str(node["id"]): _to_entry(node, object_info[node["type"]], graph) for node in nodes}


def _is_executed(node: Json) -> bool:
    return node["type"] not in NOT_EXECUTED and node.get("mode", 0) not in (MUTED, BYPASSED)


def _to_entry(node: Json, info: Json, graph: _Graph) -> Json:
    inputs = dict(_widget_inputs(node, info))
    for slot in node.get("inputs") or []:
        value = graph.source(slot.get("link"))
        if value is not None:
            inputs[slot["name"]] = value
    entry = {"class_type": node["type"], "inputs": inputs}
    entry["_meta"] = {"title": node.get("title") or info.get("display_name") or node["type"]}
    return entry


def _widget_inputs(node: Json, info: Json) -> Iterator[tuple[str, Any]]:
    """Pair the saved widget values, which are positional, with the inputs they belong to."""
    values = node.get("widgets_values") or []
    if isinstance(values, dict):
        yield from values.items()
        return
    rest = iter(values)
    missing = object()
    waiting: list[Any] = []  # at most one value that was looked at but belongs to the next input
    for name, kind, options in _widgets(node, info):
        value = waiting.pop() if waiting else next(rest, missing)
        if value is missing:
            if "default" in options:
                yield name, options["default"]
            continue
        yield name, {"__value__": value} if isinstance(value, list) else value
        if kind == "INT" and _has_control(name, options):
            control = next(rest, missing)
            if control is not missing and control not in CONTROL_WORDS:
                waiting.append(control)


def _widgets(node: Json, info: Json) -> Iterator[tuple[str, Any, Json]]:
    """Name, type and options of the inputs that have a widget, in the browser's order."""
    shown = {slot["name"] for slot in node.get("inputs") or [] if slot.get("widget")}
    for group in ("required", "optional"):
        specs = info["input"].get(group) or {}
        for name in info.get("input_order", {}).get(group) or specs:
            kind, options = specs[name][0], (specs[name][1:] or [{}])[0]
            is_widget = isinstance(kind, list) or kind in WIDGET_TYPES or name in shown
            if is_widget and not options.get("forceInput"):
                yield name, kind, options


def _has_control(name: str, options: Json) -> bool:
    return bool(options.get("control_after_generate", name in ("seed", "noise_seed")))


class _Graph:
    """Where a link comes from, past everything that is not executed."""

    def __init__(self, workflow: Json):
        self.nodes = {node["id"]: node for node in workflow["nodes"]}
        self.links = {}
        for link in workflow.get("links") or []:
            if isinstance(link, dict):
                link = [link["id"], link["origin_id"], link["origin_slot"]]
            self.links[link[0]] = (link[1], link[2])

    def source(self, link: int | None) -> Any:
        """`[node id, slot]`, a primitive's literal value, or None when nothing is connected."""
        if link is None or link not in self.links:
            return None
        origin, slot = self.links[link]
        node = self.nodes[origin]
        if node["type"] == "PrimitiveNode":
            return (node.get("widgets_values") or [None])[0]
        if node["type"] == "Reroute":
            return self.source(node["inputs"][0].get("link"))
        if node.get("mode", 0) == BYPASSED:
            return self._around(node, slot)
        if node.get("mode", 0) == MUTED:
            return None
        return [str(origin), slot]

    def _around(self, node: Json, slot: int) -> Any:
        """A bypassed node hands on an input of the output's type: same place first."""
        wanted = node["outputs"][slot]["type"]
        inputs = node.get("inputs") or []
        for candidate in [*inputs[slot : slot + 1], *inputs]:
            if candidate["type"] == wanted:
                return self.source(candidate.get("link"))
        return None
