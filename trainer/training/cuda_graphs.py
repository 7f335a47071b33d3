"""Micro batches that are recorded once and then done again without Python: which, when, how long.

A recording reads its inputs from tensors of its own, computes with the frozen weights, adapters and
gradients where they lay, and adds to the gradients. It must be dropped before any of these may move.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ..frozen.weights import Weights
from ..network.network import Network
from ..sdxl.constants import LATENT_PIXELS
from .gradients import Losses, MicroBatch
from .step import Draws

log = logging.getLogger(__name__)

USES = 3
"""A shape is recorded when it is shown for this time; what is rarer is not worth it."""
MOST = 16
"""How many recordings there are at a time: each keeps some thousands of launches."""
MOVES = 2
"""How often things may move under recordings: the gradients do after the first step (see trainer/optim/flat.py)."""

Compute = Callable[[MicroBatch], Losses]
Work = Callable[[], Losses]


class Recorder(Protocol):
    """How the work of a device is recorded."""

    def rehearse(self, work: Work) -> Losses:
        """Do the work in the way it will be recorded, so that nothing is done for the first time then."""
        ...

    def record(self, work: Work) -> Work:
        """Record the work without doing it. What is returned does it, with its results always in the same tensors.

        Raises RuntimeError when it cannot be recorded; nothing is left of the attempt then.
        """
        ...

    def free(self) -> None:
        """Give the memory of all recordings back to the device; none may be used again."""
        ...


class _Recording(NamedTuple):
    """inputs: the tensors that `replay` reads, by name."""

    inputs: dict[str, Tensor]
    replay: Work


class Graphs:
    """The recordings of one training, by shape of the micro batch.

    ``modules``: all frozen layers that have weights, computed with in ``dtype`` on ``device``.
    """

    def __init__(
        self,
        recorder: Recorder,
        network: Network,
        weights: Weights,
        modules: Iterable[nn.Module],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._recorder, self._weights = recorder, weights
        self._trained = network.parameters()
        self._frozen: list[Any] = list(modules)
        self._place = dtype, device
        self._shown: Counter[Any] = Counter()
        self._recordings: dict[Any, _Recording] = {}
        self._gradients: list[Tensor | None] = []
        self._lying: list[int] = []
        """The gradients that all recordings add to, and where everything lay when they were made."""
        self._moves = 0
        self._may_record = True
        self._has_failed = False
        self._said: set[str] = set()

    def around(self, compute: Compute) -> Compute:
        """The same gradients and losses as by ``compute``, from recordings where there are some."""

        def run(micro: MicroBatch) -> Losses:
            if self._recordings:
                self._settle()
            reason = _obstacle(micro)
            if reason is not None:
                self._say(reason)
                return compute(micro)
            key = _key(micro)
            if key in self._recordings:
                return _replayed(self._recordings[key], micro)
            self._shown[key] += 1
            if self._shown[key] >= USES and self._is_possible():
                return self._record(key, micro, compute)
            return compute(micro)

        return run

    def drop(self) -> None:
        """Forget all recordings and free their memory; they are made again when they are next needed."""
        self._recordings.clear()
        self._may_record = True
        self._recorder.free()

    def stop(self, reason: str) -> None:
        """Forget all recordings and make no more."""
        self._has_failed = True
        self._say(reason)
        self.drop()

    def _record(self, key: Any, micro: MicroBatch, compute: Compute) -> Losses:
        """Compute a micro batch and record how."""
        inputs = {name: tensor.clone() for name, tensor in _tensors(micro)}
        still = _with_tensors(micro, inputs)
        losses = self._recorder.rehearse(lambda: compute(still))
        if not self._recordings:
            self._gradients = [parameter.grad for parameter in self._trained]
            self._lying = self._addresses()
        reason = None
        try:
            replay = self._recorder.record(lambda: compute(still))
            self._recordings[key] = _Recording(inputs, replay)
        except RuntimeError as error:  # also out of memory: without recordings there is more
            reason = str(error).partition("\n")[0]
        if reason is not None:  # only now, for the error keeps tensors alive
            self.stop(f"a step could not be recorded ({reason})")
            return losses
        if self._shown[key] == USES:
            log.info("LoRA Loop: step recorded for %s", _describe(micro))
        return losses

    def _is_possible(self) -> bool:
        """Whether something may be recorded now; says why not."""
        if self._has_failed or not self._may_record:
            return False
        if len(self._recordings) >= MOST:
            self._say(f"there are more than {MOST} different shapes of batches")
            return False
        if not self._recordings and not all(map(self._is_lent_as_it_is, self._frozen)):
            self._may_record = False
            self._say("not all weights of the model lie on the device as they are computed with")
        return self._may_record

    def _is_lent_as_it_is(self, module: Any) -> bool:
        with self._weights.borrow(module, *self._place) as (weight, bias):
            return weight is module.weight and bias is module.bias

    def _settle(self) -> None:
        """Put back the gradients that were taken away, and drop everything if anything has moved."""
        pairs = zip(self._trained, self._gradients, strict=True)
        taken = [(p, g) for p, g in pairs if p.grad is None and g is not None]
        for parameter, gradient in taken:
            parameter.grad = gradient.zero_()
        if self._addresses() == self._lying:
            return
        self.drop()
        self._moves += 1
        if self._moves > MOVES:
            self.stop("what the recordings compute with moves again and again")

    def _addresses(self) -> list[int]:
        """Of weights, adapters and gradients; asked at every replay, so without nn.Module's detours."""
        layers = [module._parameters.values() for module in self._frozen]
        found = [tensor for layer in layers for tensor in layer if tensor is not None]
        found += self._trained
        found += [p.grad for p in self._trained if p.grad is not None]
        return [tensor.data_ptr() for tensor in found]

    def _say(self, reason: str) -> None:
        if reason not in self._said:
            self._said.add(reason)
            log.warning("LoRA Loop: cuda_graphs: %s; such steps are computed as usual.", reason)


def _obstacle(micro: MicroBatch) -> str | None:
    """Why a micro batch cannot be recorded: each sample has something of its own for Python to do."""
    if micro.dropout is not None:
        return "parts of the adapters are dropped at random"
    preserves = any(item.preserves for item in micro.batch.items)
    if preserves or micro.batch.class_context is not None:
        return "prior preservation asks the model without its adapters"
    if any(item.strength != 1.0 for item in micro.batch.items):
        return "some images have a strength of their own"
    return None


def _tensors(micro: MicroBatch) -> Iterator[tuple[str, Tensor]]:
    for name, value in (*vars(micro.batch).items(), *micro.draws._asdict().items()):
        if isinstance(value, Tensor):
            yield name, value


def _with_tensors(micro: MicroBatch, tensors: dict[str, Tensor]) -> MicroBatch:
    """The micro batch with other tensors in place of its own."""
    drawn = {name: tensors[name] for name in Draws._fields if name in tensors}
    batch = {name: tensor for name, tensor in tensors.items() if name not in drawn}
    return micro._replace(
        batch=dataclasses.replace(micro.batch, **batch), draws=micro.draws._replace(**drawn)
    )


def _key(micro: MicroBatch) -> Any:
    """Equal where the same work is to be done."""
    return micro.share, tuple((n, tuple(t.shape), t.dtype) for n, t in _tensors(micro))


def _replayed(recording: _Recording, micro: MicroBatch) -> Losses:
    for name, tensor in _tensors(micro):
        recording.inputs[name].copy_(tensor)
    return Losses(*(tensor.clone() for tensor in recording.replay()))


def _describe(micro: MicroBatch) -> str:
    count, _, height, width = micro.batch.latents.shape
    tokens = micro.batch.context.shape[1]
    across, down = width * LATENT_PIXELS, height * LATENT_PIXELS
    return f"{across} x {down} pixels, {count} sample(s), {tokens} tokens"
