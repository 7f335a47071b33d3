"""What can be set, as values: the base class of every config, and the one collector of what is wrong."""

from __future__ import annotations

import dataclasses
from functools import cache, reduce
from types import UnionType
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

import numpy as np


class Problems(list[str]):
    """Collects every complaint about something so that they are reported together."""

    def need(self, ok: bool, text: str) -> None:
        """Complain unless all is well."""
        if not ok:
            self.append(text)

    def one_of(self, name: str, value: object, choices: Any) -> None:
        """Complain about a value that is none of a Literal's."""
        allowed = get_args(choices)
        self.need(value in allowed, f"{name} is {value!r}; it must be one of {', '.join(allowed)}")

    def finish(self, where: str) -> None:
        """Raise ValueError with all complaints, if there are any."""
        if self:
            raise ValueError(f"{where}: " + "; ".join(self) + ".")


@dataclasses.dataclass(frozen=True)
class Config:
    """What can be set about something, checked as a whole when it is made.

    Every number has the type of its field, so that equal settings have one identity: 1 is 1.0 for a
    `float`, and 1.0 is 1 for an `int`, in tuples too (see `as_declared`). A subclass overrides `title` and `check`.

    Raises:
        ValueError: lists everything that is wrong with the values.
    """

    title: ClassVar[str] = "Settings"
    """What the values are called in messages."""

    def __post_init__(self) -> None:
        problems = Problems()
        for name, hint in _hints(type(self)).items():
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, as_declared(value, hint))
            except ValueError as error:
                problems.append(f"{name} is {value}; {error}")
        self.check(problems)
        problems.finish(self.title)

    def check(self, problems: Problems) -> None:
        """Add what is wrong with the values; nothing unless a subclass overrides it."""

    def to_dict(self) -> dict[str, Any]:
        """The values by name, those of configs inside by name as well."""
        return dataclasses.asdict(self)


def as_declared(value: Any, hint: Any) -> Any:
    """A value in the type of its hint, so that what means the same is the same; anything else as it is.

    NumPy's numbers become Python's, -0.0 becomes 0.0, True is 1 where a number is asked for, 1 is True
    where a yes or no is, and a list is a tuple.

    Raises:
        ValueError: a whole number is asked for and this is none; says so.
    """
    kinds = get_args(hint)
    if isinstance(value, np.generic):
        value = value.item()
    if hint is float and isinstance(value, int | float):
        return float(value) + 0.0  # -0.0 + 0.0 is 0.0
    if hint is int and isinstance(value, int | float):
        if isinstance(value, float) and not value.is_integer():
            raise ValueError("it must be a whole number")
        return int(value)
    if hint is bool and isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    if get_origin(hint) in (Union, UnionType):
        return reduce(as_declared, kinds, value)
    if get_origin(hint) is tuple and isinstance(value, tuple | list):
        of_each = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
        if len(of_each) != len(value):
            return tuple(value)
        return tuple(map(as_declared, value, of_each))
    return value


@cache
def _hints(config: type[Config]) -> dict[str, Any]:
    """The types of a config's fields; they are resolved once for each class."""
    hints = get_type_hints(config)
    return {field.name: hints[field.name] for field in dataclasses.fields(config)}
