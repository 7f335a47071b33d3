"""Dropout of adapters: which numbers, ranks and whole adapters one micro batch goes without.

At random, and by the timestep of each sample, as in T-LoRA.

Every mask is a pure function of (seed, epoch, sample, layer), so that a block that is recomputed in
backward sees the same one. kohya draws module dropout once for a batch; here each sample has its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..batches.plan import BatchItem
from ..config.lora import LoraConfig
from ..rng import generator


@dataclass(frozen=True)
class Dropout:
    """What is left out of the adapters for these samples."""

    config: LoraConfig
    seed: int
    epoch: int
    items: tuple[BatchItem, ...]
    timesteps: Tensor | None = None
    """Of each sample [B], int64 on the device; None where nothing depends on them."""
    horizon: int = 1000
    """How many timesteps there are."""

    def hidden(self, key: str, hidden: Tensor) -> Tensor:
        """The down projection's output [B, ..., r] or [B, r, h, w] of layer ``key``, thinned out.

        What stays of neurons is scaled up by 1 / (1 - p), and so is what stays of ranks.
        """
        config = self.config
        if config.dropout:
            kept = self._uniform("neurons", key, hidden, hidden.shape[1:]) >= config.dropout
            hidden = hidden * kept / (1 - config.dropout)
        return self.ranks(key, self._timely(hidden))

    def _timely(self, hidden: Tensor) -> Tensor:
        """``hidden`` without the last ranks, the more of them the noisier a sample is; nothing is scaled.

        Source: T-LoRA (Soboleva et al. 2025), with an exponent of 1, as compute_timestep_mask of LyCORIS.
        A text encoder knows no timestep, and loses nothing.
        """
        least = self.config.least_rank
        if not least or self.timesteps is None:
            return hidden
        is_picture = hidden.dim() == 4
        ranks = hidden.shape[1] if is_picture else hidden.shape[-1]
        least = min(least, ranks)
        left = (self.horizon - self.timesteps) * (ranks - least) // self.horizon + least
        kept = torch.arange(ranks, device=hidden.device) < left[:, None]
        shape = (-1, ranks, 1, 1) if is_picture else (-1, *[1] * (hidden.dim() - 2), ranks)
        return hidden * kept.view(shape)

    def ranks(self, key: str, hidden: Tensor) -> Tensor:
        """``hidden`` without the channels that rank dropout takes; the others are scaled up."""
        chance = self.config.rank_dropout
        if not chance:
            return hidden
        is_picture = hidden.dim() == 4
        ranks = hidden.shape[1] if is_picture else hidden.shape[-1]
        kept = self._uniform("ranks", key, hidden, (ranks,)) > chance
        shape = (-1, ranks, 1, 1) if is_picture else (-1, *[1] * (hidden.dim() - 2), ranks)
        return hidden * kept.view(shape) / (1 - chance)

    def output(self, key: str, output: Tensor) -> Tensor:
        """What an adapter adds, without it for the samples that go without this adapter."""
        if not self.config.module_dropout:
            return output
        kept = self._uniform("module", key, output, ()) >= self.config.module_dropout
        return output * kept.view(-1, *[1] * (output.dim() - 1))

    def _uniform(self, purpose: str, key: str, like: Tensor, shape: Sequence[int]) -> Tensor:
        """[B, *shape] float32 in [0, 1) on the device of ``like``, a generator for each sample."""
        rows = []
        for item in self.items:
            where = ("dropout", purpose, key, self.epoch, item.item_index, item.repeat)
            rng = generator(self.seed, *where, device=like.device)
            rows.append(torch.rand(tuple(shape), generator=rng, device=like.device))
        return torch.stack(rows)
