"""What goes into a node and what it says to the page, looked at in one place for all nodes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

from comfy_api.latest import io

from .host.progress import page_text

_LONGEST = 10_000
"""Characters of a sentence about an error, which may repeat what was typed."""


def guard(kind: type[io.ComfyNode]) -> None:
    """Let a node refuse numbers beyond the bounds of its inputs, and say nothing that is markup.

    ComfyUI looks at numbers that are typed, not at those that come from another node, and some ask for
    memory. Names of files stand in texts and in sentences about errors.
    """
    execute: Callable[..., io.NodeOutput] = vars(kind)["execute"].__func__

    @cache
    def bounds() -> dict[str, tuple[Any, Any]]:
        found = (
            (one.id, vars(one).get("min"), vars(one).get("max"))
            for one in kind.define_schema().inputs
        )
        return {name: (least, most) for name, least, most in found if None not in (least, most)}

    @wraps(execute)
    def guarded(cls: type[io.ComfyNode], *others: Any, **values: Any) -> io.NodeOutput:
        try:
            _check(bounds(), values)
            result = execute(cls, *others, **values)
        except (ValueError, OSError) as error:
            said = page_text(str(error))
            said = said if len(said) <= _LONGEST else f"{said[:_LONGEST]} …"
            if said == str(error):
                raise
            raise ValueError(said) from error
        if result.ui and "text" in result.ui:
            result.ui = {**result.ui, "text": [page_text(text) for text in result.ui["text"]]}
        return result

    setattr(kind, "execute", classmethod(guarded))  # noqa: B010


def _check(bounds: dict[str, tuple[Any, Any]], values: dict[str, Any]) -> None:
    for name in values.keys() & bounds.keys():
        least, most = bounds[name]
        given = values[name] if isinstance(values[name], list) else [values[name]]
        for value in given:
            if isinstance(value, int | float) and not least <= value <= most:
                raise ValueError(f"{name} is {value}; allowed: {least:g} to {most:g}")
