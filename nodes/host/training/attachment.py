"""The adapters on the loaded model while it trains: room made, layers replaced, weights held."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType

import torch
from torch import nn

from ....trainer.frozen.weights import Weights
from ....trainer.layers.attach import Attachment, Replacement, checkpoint_plan, leaf_plan
from ....trainer.layers.compact_plan import compact_plan
from ....trainer.layers.kernel_choice import choose_elementwise
from ....trainer.layers.recompute import Levels
from ....trainer.layers.text_plan import text_plan
from ....trainer.memory.plan import MemoryPlan
from ....trainer.network.network import Network
from ..model import memory
from ..model.unet import compute_dtype
from .cuda_graphs import make_graphs
from .request import Request


def _layers(
    request: Request, network: Network, weights: Weights, levels: Levels
) -> list[Replacement]:
    """What takes the place of the UNet's layers."""
    patcher, config = request.patcher, request.config
    unet = patcher.model.diffusion_model
    if not config.compact:
        return leaf_plan(unet, network, weights)
    device, dtype = patcher.load_device, compute_dtype(patcher)
    elementwise = choose_elementwise(device, dtype, triton=config.speed.triton_kernels)
    return compact_plan(unet, network, weights, levels, elementwise)


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
        self._leaves_card = request.config.speed.model_leaves_card
        unet = request.patcher.model.diffusion_model
        self._leaves = _layers(request, network, weights, plan.levels)
        for encoder in encoders:
            self._leaves += text_plan(encoder, network, weights)
        blocks = checkpoint_plan(unet, plan.levels)
        self._attachment = Attachment([*self._leaves, *blocks])
        modules = [leaf.module for leaf in self._leaves]
        self.graphs = make_graphs(request, network, weights, modules)
        """Recorded micro batches, None without; dropped before ComfyUI does work of its own."""
        self._hold = ExitStack()

    def __enter__(self) -> Mounting:
        self._make_room()
        self._hold_weights()
        try:
            self._attachment.__enter__()
        except BaseException:
            self._hold.close()
            raise
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
            memory.make_room(self._patchers, self._plan.reserve, first_leaves=self._leaves_card)

    def _hold_weights(self) -> None:
        self._hold.enter_context(self._weights.hold(leaf.module for leaf in self._leaves))
        if self.graphs is not None:
            self._hold.callback(self.graphs.drop)  # before the weights may move
