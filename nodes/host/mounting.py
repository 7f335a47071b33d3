"""The adapters on the loaded model while it trains: room made, layers replaced, weights held."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType

import torch
from torch import nn

from ...trainer.attach import Attachment, Replacement, checkpoint_plan, leaf_plan
from ...trainer.compact_plan import compact_plan
from ...trainer.memory import MemoryPlan
from ...trainer.network import Network
from ...trainer.text_targets import text_plan
from ...trainer.weights import Lookahead, Weights
from . import memory
from .request import Request
from .weights import ComfyWeights


def frozen_weights(request: Request) -> Weights:
    """How the trainer reaches the model's weights."""
    weights = ComfyWeights()
    return Lookahead(weights) if request.prefetch else weights


class Mounting:
    """Context manager: the adapters are on the UNet, and on the text encoders that are trained."""

    def __init__(
        self,
        request: Request,
        network: Network,
        encoders: Sequence[nn.Module],
        weights: Weights,
        plan: MemoryPlan,
    ) -> None:
        self._patchers, self._weights, self._plan = request.trained, weights, plan
        unet = request.patcher.model.diffusion_model
        self._leaves: list[Replacement] = (
            compact_plan(unet, network, weights, plan.levels)
            if request.config.compact
            else leaf_plan(unet, network, weights)
        )
        for encoder in encoders:
            self._leaves += text_plan(encoder, network, weights)
        blocks = checkpoint_plan(unet, plan.levels)
        self._attachment = Attachment([*self._leaves, *blocks])
        self._hold = ExitStack()

    def __enter__(self) -> Mounting:
        self._make_room()
        self._attachment.__enter__()
        self._hold_weights()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._attachment.__exit__(kind, error, trace)
        self._hold.close()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """ComfyUI's own work in the middle of the training, which then takes its place again."""
        self._hold.close()
        with torch.inference_mode():
            yield
        self._attachment.check()
        self._make_room()
        self._hold_weights()

    def _make_room(self) -> None:
        with torch.inference_mode():
            memory.make_room(self._patchers, self._plan.reserve)

    def _hold_weights(self) -> None:
        self._hold.enter_context(self._weights.hold(leaf.module for leaf in self._leaves))
