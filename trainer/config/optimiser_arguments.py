"""The arguments of an optimiser as lines of text: read, and checked without making one."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

from .optimisers import KINDS, optimiser_class

_LONGEST = 500
"""Characters of an argument."""
_SHOWN, _MOST_BRACKETS, _LARGEST = 60, 20, 1e30


_NOT_HERE = {
    "adamw_lr": "has no effect, since what Muon treats as AdamW does learns at the learning rate",
    "args": "is for bitsandbytes itself",
    "capturable": "is for recording the optimiser in a CUDA graph, which no run does",
    "differentiable": "is for gradients of the optimiser itself, which no run needs",
    "fsdp_in_use": "is for a model on several devices",
    "maximize": "would raise the loss",
}
"""Arguments of which only what is false can be given, and why."""


def parse_arguments(lines: Iterable[str]) -> dict[str, Any]:
    """kohya's optimizer_args, ``key=value`` with Python literals as values.

    Raises:
        ValueError: a line has another form; says which.
    """
    found: dict[str, Any] = {}
    for line in lines:
        key, mark, value = (part.strip() for part in line.partition("="))
        try:
            if not mark or not key.isidentifier():
                raise SyntaxError
            found[key] = _literal(value)
        except (SyntaxError, ValueError) as error:
            shown = line if len(line) <= _LONGEST else f"{line[:_SHOWN]}…"
            raise ValueError(
                f"optimiser argument {shown!r} is not of the form key=value with a finite number, True, "
                f"False, None, a text in quotes or a tuple as value, in {_LONGEST} characters at most"
            ) from error
    return found


def _literal(text: str) -> Any:
    """A Python literal. SyntaxError or ValueError for anything else, and for what no setting needs:
    ``ast`` itself ends in a MemoryError, or worse, for long and deep ones."""
    signs = re.sub(r"[^-+~]+", " ", text).split()
    if (
        len(text) > _LONGEST
        or sum(map(text.count, "([{")) > _MOST_BRACKETS
        or any(len(run) > 1 for run in signs)
    ):
        raise ValueError("it is too long or nested too deep")
    value = ast.literal_eval(text)
    if not _is_finite(value):
        raise ValueError("a number is not finite")
    return value


def _is_finite(value: Any) -> bool:
    """Whether all numbers of a literal can be computed with."""
    if isinstance(value, dict):
        return all(map(_is_finite, (*value, *value.values())))
    if isinstance(value, tuple | list | set):
        return all(map(_is_finite, value))
    return not isinstance(value, int | float | complex) or abs(value) < _LARGEST


def check_arguments(kind: str, arguments: Sequence[str]) -> list[str]:
    """What is wrong with the arguments of an optimiser, as sentences; an absent package is not asked for."""
    try:
        given = parse_arguments(arguments)
    except ValueError as error:
        return [str(error)]
    if "lr" in given or "params" in given:
        return ["optimiser arguments cannot hold lr or params: set the learning rate itself"]
    known = KINDS[kind]
    try:
        found = inspect.signature(optimiser_class(known)).parameters
    except ImportError:
        return []
    named = inspect.Parameter.VAR_KEYWORD  # **kwargs names none
    parameters = {name: one for name, one in found.items() if one.kind is not named}
    unknown = [key for key in given if key not in parameters]
    if unknown:
        takes = ", ".join(parameters)
        return [f"{kind} has no argument {key}; it has {takes}" for key in unknown]
    if given.get("fused") and given.get("foreach"):
        return ["of the optimiser arguments fused and foreach only one can be True"]
    odd = {key: _why_not(key, value, parameters[key]) for key, value in given.items()}
    return [
        f"the optimiser argument {key}={given[key]!r} of {kind} {reason}"
        for key, reason in odd.items()
        if reason
    ]


def _why_not(name: str, value: Any, parameter: inspect.Parameter) -> str | None:
    """What speaks against a value of an argument, as the end of a sentence."""
    if name in _NOT_HERE:
        return None if value in (None, False) else f"{_NOT_HERE[name]}: leave it out"
    default = parameter.default
    is_switch = isinstance(default, bool) or "bool" in str(parameter.annotation)
    if is_switch and not isinstance(value, bool) and not (value is None and default is None):
        return "takes True or False"
    if isinstance(default, tuple | list) and not isinstance(value, str):
        count = len(default)
        if not isinstance(value, tuple | list) or len(value) != count or not _is_numbers(value):
            return f"takes {count} numbers, such as {default}"
    if isinstance(default, int | float) and not is_switch and not _is_numbers([value]):
        return None if value is None else f"takes a number, such as {default}"
    return None


def _is_numbers(values: Iterable[Any]) -> bool:
    return all(isinstance(value, int | float) for value in values)
