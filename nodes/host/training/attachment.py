"""The adapters on the loaded model while it trains: room made, layers replaced, weights held."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType

import torch

from ....trainer.config.train import TrainConfig
from ....trainer.device.attending import fixed_order
from ....trainer.frozen.weights import Weights
from ....trainer.layers.attach import Attachment, Replacement, checkpoint_plan, leaf_plan
from ....trainer.layers.compact_plan import compact_plan
from ....trainer.layers.kernel_choice import choose_elementwise
from ....trainer.layers.recognise import is_transformer, odd_blocks
from ....trainer.layers.text_plan import text_plan
from ....trainer.memory.plan import MemoryPlan
from ....trainer.network.network import Network
from ..model import memory
from ..model.autograd_session import current_device
from ..model.clip_training import attention_plan
from ..model.clip_word import word_plan
from ..model.trained_model import TrainedModel
from ..model.unet import OPTIONS
from .cuda_graphs import Graphs, make_graphs

log = logging.getLogger(__name__)


def _layers(
    model: TrainedModel, config: TrainConfig, network: Network, weights: Weights, plan: MemoryPlan
) -> list[Replacement]:
    """What takes the place of the layers of the UNet and of trained text encoders."""
    if plan.compact:
        kernels = choose_elementwise(model.device, model.dtype, triton=config.speed.triton_kernels)
        layers = compact_plan(model.unet, network, weights, plan.levels, kernels)
    else:
        layers = leaf_plan(model.unet, network, weights)
    for encoder in model.encoders:
        layers += text_plan(encoder, network, weights)
        layers += attention_plan(encoder)
    layers += word_plan(model.encoders, network)
    return layers


class Mounting:
    """Context manager: the adapters are on the UNet, and on the text encoders that are trained.

    They settle on the device when it is entered and there is room for them.
    """

    def __init__(
        self,
        model: TrainedModel,
        config: TrainConfig,
        network: Network,
        weights: Weights,
        plan: MemoryPlan,
    ) -> None:
        self._model, self._config, self._network = model, config, network
        self._weights, self.plan = weights, plan
        self.graphs: Graphs | None = None
        """Recorded micro batches, None without; dropped before ComfyUI does work of its own."""
        self._hold = ExitStack()

    def __enter__(self) -> Mounting:
        self._make_room()
        try:
            with current_device(self._model.device):
                self._network.settle(self._model.device, self._weights)
            self._prepare(self.plan)
            self.graphs = self._new_graphs()
            self._hold_weights()
            self._leave_odd_blocks()
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

    def change(self, plan: MemoryPlan) -> None:
        """Go on with another plan. Nothing of a step may be left; no more micro batches are recorded."""
        if self.graphs is not None:
            self.graphs.stop("memory ran out")
        self._hold.close()
        self._attachment.__exit__(None, None, None)
        self._prepare(plan)
        self._make_room()
        self._hold_weights()
        self._leave_odd_blocks()
        self._attachment.__enter__()

    def _prepare(self, plan: MemoryPlan) -> None:
        """What the layers of the model are replaced by under a plan."""
        self.plan = plan
        self._leaves = _layers(self._model, self._config, self._network, self._weights, plan)
        self._attachment = self._attached()

    def _new_graphs(self) -> Graphs | None:
        modules = [leaf.module for leaf in self._leaves]
        return make_graphs(self._model, self._config.speed, self._network, self._weights, modules)

    def _attached(self) -> Attachment:
        blocks = checkpoint_plan(self._model.unet, self.plan.levels, self._leaves)
        return Attachment([*self._leaves, *blocks])

    def _leave_odd_blocks(self) -> None:
        """Leave blocks to ComfyUI, layer by layer, where ours do not give what its own give."""
        model = self._model
        with fixed_order():
            odd = odd_blocks(self._leaves, model.dtype, model.device, transformer_options=OPTIONS)
        if odd:
            log.warning(
                "LoRA Loop: this ComfyUI computes its transformer blocks in another way than SDXL's are "
                "known to (first: %s), so they are computed layer by layer, in more time and memory.",
                odd[0],
            )
            self._leaves = [s for s in self._leaves if not is_transformer(s.module)]
            self._attachment = self._attached()

    def _make_room(self) -> None:
        """Ask for it, with nothing lying idle in PyTorch's cache, for which dynamic VRAM would give weights."""
        if not self._model.managed:
            return
        memory.give_back()
        patchers, leaves = self._model.patchers, self._config.speed.model_leaves_card
        with torch.inference_mode():
            memory.make_room(patchers, self.plan.reserve, first_leaves=leaves)

    def _hold_weights(self) -> None:
        self._hold.enter_context(current_device(self._model.device))
        self._hold.enter_context(self._weights.hold(leaf.module for leaf in self._leaves))
        if self.graphs is not None:
            self._hold.callback(self.graphs.drop)  # before the weights may move
