"""Forward and backward of one micro batch: what fills the adapters' gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ..batches.training_data import Batch
from ..config.train import TrainConfig
from ..device.attending import fixed_order
from ..network.dropout import Dropout
from ..network.network import Network
from .preservation import loss_terms
from .slider import slider_terms
from .step import Draws, Model


class MicroBatch(NamedTuple):
    """As much of a batch as is computed at once. The tensors of batch and draws lie on the model's device.

    share: how much of its batch it is, 1 for a whole one; dropout: what the adapters go without.
    """

    batch: Batch
    draws: Draws
    share: float = 1.0
    dropout: Dropout | None = None


class Losses(NamedTuple):
    """What came of a micro batch, detached, on the model's device; nobody has waited for it yet.

    They are read at the end of the step, after other micro batches: the tensors must stay as they are.

    terms: [terms] float32, each a mean over the samples times the share; their sum is the loss.
    samples: [B] float32, of the images themselves, without prior preservation's additional term and a slider's
    other direction.
    """

    terms: Tensor
    samples: Tensor


class Gradients:
    """Adds the gradients of micro batches to what the adapters have; never waits for the device."""

    def __init__(
        self,
        model: Model,
        network: Network,
        config: TrainConfig,
        backward: Callable[[Tensor], None],
    ) -> None:
        """``backward`` propagates a scalar loss back to the adapters (see Optimiser.backward)."""
        self._model, self._network, self._config = model, network, config
        self._backward = backward

    def __call__(self, micro: MicroBatch) -> Losses:
        """Forward and backward. The model's inputs are the tensors of ``micro`` and nothing else."""
        found, samples = [], None
        items = micro.batch.items
        at_strength = self._network.at_strength(items[0].strength if items else 1.0)
        # All in backward too, which computes blocks again.
        with fixed_order(), self._network.dropping(micro.dropout), at_strength:
            for losses in self._terms(micro):
                samples = losses.detach() if samples is None else samples
                term = losses.mean() * micro.share
                self._backward(term / self._config.accumulation)
                found.append(term.detach())
        assert samples is not None  # there is always a first term
        return Losses(torch.stack(found), samples)

    def _terms(self, micro: MicroBatch) -> Iterator[Tensor]:
        """The terms of the loss, each [B] float32 with gradients; of a slider where one is trained."""
        given = self._model, self._network, micro.batch, micro.draws
        if self._config.slider.is_on:
            return slider_terms(*given, self._config)
        return loss_terms(*given, self._config.loss)
