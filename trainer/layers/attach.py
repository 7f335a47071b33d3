"""Attachment: a plan of (module, replacement forward), attached and detached without a trace.

Only the instance attribute `forward` is set; weights, buffers, flags and keys are never touched,
so taking it off is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from torch import Tensor, nn

from ..frozen.forward import frozen_forward
from ..frozen.weights import Weights
from ..network.adapters.base import Forward
from ..network.network import Network
from .checkpointing import checkpointed
from .recompute import Again, Block, find_blocks

_ABSENT = object()


class AttachmentLost(RuntimeError):
    """Something put another forward over ours while training was under way."""


@dataclass(frozen=True)
class Replacement:
    """One step of a plan: while attached, `module.forward` is `forward`."""

    name: str
    module: nn.Module
    forward: Callable[..., Any]
    again: Callable[..., Any] | None = None
    """What takes its place where it is computed again for backward alone (see `checkpointed`)."""


def leaf_plan(unet: nn.Module, network: Network, weights: Weights) -> list[Replacement]:
    """Every layer of the UNet that owns weights becomes frozen; the targets get their adapter."""
    adapters = {target.module: network.adapters[target.key] for target in network.targets}
    plan = []
    for name, module in unet.named_modules():
        frozen = frozen_forward(module, weights)
        if frozen is None:
            continue
        adapter = adapters.get(module)
        forward = frozen
        if adapter is not None:
            forward = _at_strength(frozen, adapter.around(frozen, module, weights), network)
        plan.append(Replacement(name, module, forward))
    return plan


def weights_plan(unet: nn.Module, weights: Weights) -> list[Replacement]:
    """Every layer of the UNet that owns weights computes with those that ``weights`` lends it."""
    layers = ((n, module, frozen_forward(module, weights)) for n, module in unet.named_modules())
    return [Replacement(n, module, forward) for n, module, forward in layers if forward is not None]


def _at_strength(frozen: Forward, adapted: Forward, network: Network) -> Forward:
    """Between the layer without its adapter and with it: what ComfyUI's loader makes of a strength."""

    def forward(x: Tensor) -> Tensor:
        if network.strength == 1.0:
            return adapted(x)
        without = frozen(x)
        return without + (adapted(x) - without) * network.strength if network.strength else without

    return forward


def checkpoint_plan(
    unet: nn.Module,
    levels: Mapping[Block, Again] | None = None,
    layers: Iterable[Replacement] = (),
) -> list[Replacement]:
    """Blocks of the two last levels keep their input, and perhaps attention; without levels, all do.

    layers: the plan that this one comes after; what it replaces whole blocks by is computed again.
    """
    steps = {step.module: step for step in layers}
    if levels is None:
        levels = dict.fromkeys(find_blocks(unet), Again.ALL)
    plan = []
    for block, level in levels.items():
        if level >= Again.ALL_BUT_ATTENTION:
            module = unet.get_submodule(block.name)
            own = steps.get(module) or Replacement(block.name, module, module.forward)
            forward = checkpointed(own.forward, attention=level is Again.ALL, again=own.again)
            plan.append(Replacement(block.name, module, forward))
    return plan


class Attachment:
    """Context manager that puts a plan on and takes it off in reverse order, whatever happens.

    Of two replacements of a module the later one counts.
    """

    def __init__(self, plan: Iterable[Replacement]) -> None:
        self._plan = list({step.module: step for step in plan}.values())
        self._before: list[Any] = []

    def __enter__(self) -> Attachment:
        try:
            for step in self._plan:
                self._before.append(step.module.__dict__.get("forward", _ABSENT))
                step.module.forward = step.forward
        except BaseException:
            self._detach()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._detach()

    def check(self) -> None:
        """Raise AttachmentLost when another forward stands where ours was put."""
        lost = [s.name for s in self._plan if s.module.__dict__.get("forward") is not s.forward]
        if lost:
            raise AttachmentLost(
                f"{len(lost)} of {len(self._plan)} adapted layers were replaced from outside while "
                f"training (first: {lost[0]}). Remove nodes that inject into the MODEL, such as a "
                "LoRA loader in bypass mode, and run again."
            )

    def _detach(self) -> None:
        for step, before in reversed(list(zip(self._plan, self._before, strict=False))):
            if before is _ABSENT:
                step.module.__dict__.pop("forward", None)
            else:
                step.module.forward = before
        self._before.clear()
