"""ComfyUI's V3 schema for every host from 0.3.64 on: only the arguments that it knows are passed."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin, get_type_hints

from comfy_api.latest import io

CATEGORY = "LoRA Loop"


class Node(io.ComfyNode):
    """A node that gives an input which is missing from a prompt its default.

    ComfyUI refuses a prompt without a required input, and a prompt that somebody saved may be older
    than the input. So an input with a default is optional, and ``execute`` gets the default.
    """

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        own = cls.__dict__.get("execute")
        if own is not None and not hasattr(own.__func__, "__wrapped__"):  # not in ComfyUI's copies
            setattr(cls, "execute", classmethod(_filled(own.__func__)))  # noqa: B010 - not in stubs


def _filled(execute: Callable[..., io.NodeOutput]) -> Callable[..., io.NodeOutput]:
    """``execute`` with the schema's defaults for the inputs that it is called without."""
    names = [*inspect.signature(execute).parameters][1:]

    @functools.wraps(execute)
    def filled(cls: type[Node], *values: Any, **named: Any) -> io.NodeOutput:
        given = dict(zip(names, values)) | named  # noqa: B905 - as many names as values
        return execute(cls, **(_defaults(cls) | given))

    return filled


def _defaults(cls: type[Node]) -> dict[str, Any]:
    """The defaults of a node's inputs, in lists where the node takes every input as a list."""
    schema = cls.define_schema()
    defaults = {one.id: getattr(one, "default", None) for one in schema.inputs}
    known = {name: value for name, value in defaults.items() if value is not None}
    return {k: [v] for k, v in known.items()} if schema.is_input_list else known


def node(node_id: str, **arguments: Any) -> io.Schema:
    """A Schema with the pack's id prefix and category."""
    schema = {"node_id": f"LoraLoop{node_id}", "category": CATEGORY, **arguments}
    return io.Schema(**_known(io.Schema, schema))


def field(kind: type[io.ComfyTypeIO], name: str, tooltip: str, **arguments: Any) -> io.Input:
    """An input of one of ComfyUI's types (io.Int, io.Model, a socket of ours ...).

    With a default it is optional: a prompt that somebody saved before the input existed still runs.
    """
    optional = "default" in arguments
    arguments = {"tooltip": tooltip, "optional": optional, **arguments}
    return kind.Input(name, **_known(kind.Input, arguments))


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
