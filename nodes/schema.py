"""ComfyUI's V3 schema for every host from 0.3.64 on: only the arguments that it knows are passed."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin, get_type_hints

from comfy_api.latest import io

CATEGORY = "LoRA Loop"


def node(node_id: str, **arguments: Any) -> io.Schema:
    """A Schema with the pack's id prefix and category."""
    schema = {"node_id": f"LoraLoop{node_id}", "category": CATEGORY, **arguments}
    return io.Schema(**_known(io.Schema, schema))


def field(kind: type[io.ComfyTypeIO], name: str, tooltip: str, **arguments: Any) -> io.Input:
    """An input of one of ComfyUI's types (io.Int, io.Model, a socket of ours ...)."""
    return kind.Input(name, **_known(kind.Input, {"tooltip": tooltip, **arguments}))


def setting(config: type, name: str, tooltip: str, **arguments: Any) -> io.Input:
    """An input for a field of a config dataclass: its type and default are read there."""
    hint = get_type_hints(config)[name]
    default = next(f.default for f in dataclasses.fields(config) if f.name == name)
    if get_origin(hint) is Literal:
        options = list(get_args(hint))
        return field(io.Combo, name, tooltip, options=options, default=default, **arguments)
    kinds = {bool: io.Boolean, int: io.Int, float: io.Float, str: io.String}
    return field(kinds[hint], name, tooltip, default=default, **arguments)


def output(kind: type[io.ComfyTypeIO], name: str, tooltip: str, **arguments: Any) -> io.Output:
    """An output with a name and a tooltip."""
    return kind.Output(display_name=name, tooltip=tooltip, **arguments)


def _known(target: Callable[..., object], arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments that this host's class takes; older ones do not know `advanced` and others."""
    parameters = inspect.signature(target).parameters
    return {name: value for name, value in arguments.items() if name in parameters}
