"""Settings that are checked as a whole when they are made."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args


class Problems(list[str]):
    """Collects every complaint about a config so that they are reported together."""

    def need(self, ok: bool, text: str) -> None:
        if not ok:
            self.append(text)

    def one_of(self, name: str, value: object, choices: Any) -> None:
        allowed = get_args(choices)
        self.need(value in allowed, f"{name} is {value!r}; it must be one of {', '.join(allowed)}")

    def finish(self, where: str) -> None:
        if self:
            raise ValueError(f"{where}: " + "; ".join(self) + ".")


class Settings:
    """Makes whole numbers given for real ones real, so that equal settings have one identity."""

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            if item.type == "float" and isinstance(value, int):
                object.__setattr__(self, item.name, float(value))
