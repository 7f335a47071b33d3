"""A sweep: one run for each of several learning rates, ranks and seeds, and what tells runs apart."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ..config.train import TrainConfig

MOST_RUNS = 64
"""Of a sweep."""

_MOST_LETTERS = 2000

Number = TypeVar("Number", float, int)


@dataclasses.dataclass(frozen=True)
class SweptConfig(TrainConfig):
    """One run of a sweep: its LoRA and optimiser are what was asked for, and nothing may take their place."""


def parse_numbers(text: str, name: str, where: str = "Sweep") -> tuple[float, ...]:
    """The numbers of a text such as ``1e-5, 3e-5``, each once, in their order; none of an empty one.

    where: the node, for its sentences.

    Raises:
        ValueError: it holds something else, such as the halves of 0,05, or more than a sweep has runs.
    """

    def number(word: str) -> float:
        if re.match("0[0-9]", word):
            raise ValueError(f"{word} is no number but the end of one")
        return float(word)

    such = "numbers with a decimal point and commas between them, such as 0.5, 3e-5"
    return _parsed(text, name, where, number, such)


def parse_seeds(text: str, where: str = "Sweep", most: int = 2**63 - 1) -> tuple[int, ...]:
    """The seeds of a text such as ``0, 1``, each once, in their order and with all their digits; none of an empty one.

    Raises:
        ValueError: one is no whole number from 0 to ``most``, or there are more than a sweep has runs.
    """

    def seed(word: str) -> int:
        if not 0 <= (found := int(word)) <= most:
            raise ValueError(f"{word} is no seed")
        return found

    such = f"whole numbers from 0 to {most} with commas between them, such as 0, 1"
    return _parsed(text, "seeds", where, seed, such)


def _parsed(
    text: str, name: str, where: str, read: Callable[[str], Number], such: str
) -> tuple[Number, ...]:
    words = [word for word in re.split(r"[\s,;]+", text[:_MOST_LETTERS]) if word]
    try:
        found = tuple(dict.fromkeys(map(read, words)))
    except ValueError as error:
        raise ValueError(
            f"{where}: {name} is {text[:200]!r}; give {such}, or leave it empty"
        ) from error
    if len(text) > _MOST_LETTERS or len(found) > MOST_RUNS:
        raise ValueError(f"{where}: {name} has more than {MOST_RUNS} numbers; give fewer")
    return found


def swept(base: TrainConfig, rates: str, ranks: str, seeds: str) -> tuple[SweptConfig, ...]:
    """A config for each combination of the numbers in three texts, the seeds of a setting together.

    An empty text leaves what ``base`` has. The alpha goes with the rank, in the ratio that they have in
    ``base``. The learning rate is the UNet's; those of text encoders stay.

    Raises:
        ValueError: a text holds something else than such numbers, there are too many combinations, a value
            is none that a config may have, or ranks are set elsewhere.
    """
    lists = (
        parse_numbers(rates, "learning_rates") or (base.optimiser.learning_rate,),
        parse_numbers(ranks, "ranks") or (base.lora.rank,),
        parse_seeds(seeds) or (base.seed,),
    )
    count = len(lists[0]) * len(lists[1]) * len(lists[2])
    if count > MOST_RUNS:
        numbers = " x ".join(str(len(one)) for one in lists)
        raise ValueError(
            f"Sweep: {numbers} learning rates, ranks and seeds are {count} runs; at most {MOST_RUNS} are "
            "allowed: give fewer"
        )
    lora = base.lora
    if len(lists[1]) > 1 and (lora.dim_from_weights or lora.block_ranks):
        raise ValueError(
            "Sweep: the ranks come from block_ranks or dim_from_weights of LoRA Settings: empty them, or "
            "leave ranks empty"
        )
    return tuple(_one(base, *numbers) for numbers in itertools.product(*lists))


def _one(base: TrainConfig, rate: float, rank: float, seed: int) -> SweptConfig:
    lora, optimiser = base.lora, base.optimiser
    if rank != lora.rank:
        alpha = lora.alpha * rank / lora.rank
        lora = dataclasses.replace(lora, rank=rank, alpha=alpha)  # pyright: ignore[reportArgumentType]
    optimiser = dataclasses.replace(optimiser, learning_rate=rate)
    optimiser.check_rates()
    values = {field.name: getattr(base, field.name) for field in dataclasses.fields(base)}
    return SweptConfig(**{**values, "lora": lora, "optimiser": optimiser, "seed": seed})


def differences(configs: Sequence[TrainConfig]) -> list[str]:
    """What sets each config apart from the others, without its seed: ``learning_rate 3e-05, rank 16``.

    Configs with the same words differ in their seeds at most. Where all do, the words are learning rate and rank.
    """
    settings = [dict(_leaves(config.to_dict())) for config in configs]
    names = [
        name
        for name in (settings[0] if settings else ())
        if name != "seed" and len({str(one.get(name)) for one in settings}) > 1
    ] or ["optimiser.learning_rate", "lora.rank"]
    return [
        ", ".join(f"{name.rpartition('.')[2]} {_shown(one.get(name))}" for name in names)
        for one in settings
    ]


def _leaves(values: Mapping[str, Any], where: str = "") -> list[tuple[str, Any]]:
    """Every value by its path, such as ``optimiser.learning_rate``."""
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        path = f"{where}{name}"
        found += _leaves(value, f"{path}.") if isinstance(value, Mapping) else [(path, value)]
    return found


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
