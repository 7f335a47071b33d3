"""What a replay says of one recorded case."""

from typing import NamedTuple


class Case(NamedTuple):
    """A recorded case: its largest error and the bound that it must not exceed."""

    name: str
    error: float
    bound: float

    @property
    def passed(self) -> bool:
        return self.error <= self.bound


class Unsupported(Exception):
    """A recorded case asks for something that is not built yet; the message names it."""
