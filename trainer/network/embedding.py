"""A new word of both text encoders as something to train: its vectors, and where the encoders read them.

The word's tokens have ids behind those of the vocabulary, as kohya's have, who makes the table of the
encoder longer. Here the table stays: a forward around it looks the new ids up among the vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config.embedding import BUNDLED, KEYS
from ..config.train import TrainConfig
from ..optim.optimiser import ParameterGroup
from ..sdxl.token_chunks import EOS

FIRST_ID = EOS + 1
"""The id of the word's first token; EOS is the last of the vocabulary."""


class Embedding:
    """The trained vectors of a word: [vectors, width] float32 for each encoder."""

    def __init__(self, config: TrainConfig, initial: Mapping[str, Tensor]) -> None:
        """``initial``: by KEYS, what the vectors begin as."""
        settings = config.embedding
        self.name = settings.token
        self.initial = {key: initial[key].detach().float().clone() for key in KEYS}
        self.vectors = {key: nn.Parameter(value.clone()) for key, value in self.initial.items()}
        self._factor = settings.learning_rate / config.optimiser.learning_rate
        self._decay, self._until = settings.weight_decay, settings.until(config.steps)

    def move(self, device: torch.device) -> None:
        """To where they are trained; the parameters are new ones."""
        self.initial = {key: value.to(device) for key, value in self.initial.items()}
        for key, vectors in self.vectors.items():
            self.vectors[key] = nn.Parameter(vectors.detach().to(device))

    def group(self) -> ParameterGroup:
        """For the optimiser."""
        vectors = [*self.vectors.values()]
        return ParameterGroup(vectors, self._factor, weight_decay=self._decay)

    def begin_step(self, done: int) -> None:
        """After their share of the steps no gradient is computed for the vectors."""
        for vectors in self.vectors.values():
            vectors.requires_grad_(done < self._until)

    def named(self) -> Iterator[tuple[str, Tensor]]:
        """The vectors by their keys in a LoRA file."""
        for key, vectors in self.vectors.items():
            yield f"{BUNDLED}{self.name}.{key}", vectors

    def around(
        self, table: Callable[..., Tensor], key: str, strength: Callable[[], float]
    ) -> Callable[..., Tensor]:
        """The lookup of an encoder's table with the new ids: [...] int64 -> [..., width].

        At strength 0 they are what they were in the beginning. Nothing waits for the device.
        """

        def lookup(ids: Tensor, *more: Any, **options: Any) -> Tensor:
            found = table(ids.clamp(max=EOS), *more, **options)
            vectors = self.vectors[key] if strength() else self.initial[key]
            own = F.embedding((ids - FIRST_ID).clamp(0, len(vectors) - 1), vectors)
            return torch.where((ids > EOS)[..., None], own.to(found.dtype), found)

        return lookup
