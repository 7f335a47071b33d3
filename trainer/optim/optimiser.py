"""One optimiser step: gradients in, clipped, checked, applied."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..config.optimiser import OptimiserConfig
from ..config.optimiser_factory import is_matrix, make_optimiser
from ..config.optimisers import BY_SHAPE, ELEMENTWISE, is_blockwise, is_relative
from .at_once import AtOnce, OneByOne
from .blocks import Blocks
from .ema import MovingAverage
from .flat import Flat, Single
from .loss_scale import LossScale
from .rounding import Rounding


@dataclass(frozen=True)
class StepOutcome:
    """What a step did. grad_norm: the norm before clipping; applied: False when it was skipped."""

    grad_norm: float
    applied: bool
    overflow: bool = False
    """The gradients overflowed only because of float16 loss scaling: the scale was lowered."""
    learning_rate: float = math.nan
    """In force after the step; times d where the optimiser finds d itself."""


class ParameterGroup(NamedTuple):
    """Parameters that learn at the learning rate times a factor."""

    parameters: list[nn.Parameter]
    factor: float = 1.0
    decays: bool = True
    """Whether the optimiser's weight decay pulls them towards 0."""
    weight_decay: float | None = None
    """Their own weight decay; None: the optimiser's."""

    @property
    def learns(self) -> bool:
        """Whether gradients are asked for: else the parameters stay as they are."""
        return self.parameters[0].requires_grad


class Optimiser:
    """An optimiser over the adapters' parameters, with loss scaling when the model runs in fp16."""

    def __init__(
        self,
        groups: Sequence[ParameterGroup],
        config: OptimiserConfig,
        *,
        device: torch.device | None = None,
        compute_dtype: torch.dtype = torch.float32,
        at_once: bool = False,
        seed: int = 0,
    ) -> None:
        """``at_once``: see trainer/optim/at_once.py; raises ValueError where gradients have to be scaled.

        ``seed``: how parameters in bf16 are rounded.
        """
        if at_once and compute_dtype == torch.float16:
            raise ValueError(
                "fused_backward does not go with a MODEL that computes in fp16, whose gradients are scaled: "
                "load the MODEL in bf16, or turn fused_backward off."
            )
        if config.type in BY_SHAPE:
            groups = [part for group in groups for part in _by_shape(group)]
        self._parameters = [parameter for group in groups for parameter in group.parameters]
        self._groups = groups
        self._config = config
        self._device = device or torch.device("cpu")
        self._at_once = at_once
        self._rounding = Rounding(seed)
        parameters = [group.parameters for group in groups]
        if at_once:
            limit = config.max_grad_norm or math.inf
            self._seen: Single = AtOnce(self._make, parameters, self._rounding, limit)
        elif any(parameter.dtype == torch.bfloat16 for parameter in self._parameters):
            self._seen = OneByOne(self._make, parameters, self._rounding)
        else:
            self._seen = _seen_as(config.type)(self._make, parameters)
        self._is_relative = is_relative(config.type, config.constructor_arguments())
        self._move_to("train")
        decay = config.ema_decay
        self._average = MovingAverage(self._parameters, decay) if decay else None
        self._scale = LossScale(self._device, enabled=compute_dtype == torch.float16)

    def _make(self, parameters: list[list[nn.Parameter]]) -> torch.optim.Optimizer:
        """The optimiser over these parameters of each group."""
        config = self._config
        groups = [
            {"params": own, "lr": config.learning_rate * group.factor, **_decay(group)}
            for group, own in zip(self._groups, parameters, strict=True)
        ]
        arguments = config.constructor_arguments()
        return make_optimiser(config.type, groups, config.learning_rate, arguments, self._device)

    @property
    def _inner(self) -> torch.optim.Optimizer:
        return self._seen.inner

    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradients of a (partial) loss."""
        self._scale.scaled(loss).backward()

    def reached(self) -> list[bool]:
        """Which parameters have a gradient, in their order."""
        return [parameter.grad is not None for parameter in self._parameters]

    def exchange(self, total: Callable[[Tensor], None], reached: Sequence[bool]) -> None:
        """Have ``total`` change the accumulated gradients in place, in one buffer.

        ``reached``: which parameters are in it; those without a gradient have zeros there.
        """
        for parameter, counts in zip(self._parameters, reached, strict=True):
            if counts and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self._seen.exchange(total)

    def clip(self) -> Tensor:
        """Clip the accumulated gradients; their norm before it, a scalar on the device.

        Nothing is waited for: who has read the norm gives it to `step`.
        """
        return self._seen.clip(self._scale.value, self._config.max_grad_norm or math.inf)

    def step(self, learning_rate: float, norm: float | None = None) -> StepOutcome:
        """Apply the clipped gradients and clear them; non-finite ones are dropped instead.

        norm: what `clip` gave; None: it is called and waited for here.
        """
        if norm is None:
            norm = float(self.clip())
        self._set_rates(learning_rate)
        finite = math.isfinite(norm)
        overflow = not finite and self._scale.value > 1.0
        self._scale.record(finite=finite)
        if finite:
            self._seen.step()
        self.clear()
        return StepOutcome(norm, finite, overflow, self._rate())

    def begin(self, learning_rate: float, done: int) -> None:
        """A step begins, after so many: where parameters are stepped within backward they need its rate now."""
        self._rounding.done = done
        if self._at_once:
            self._set_rates(learning_rate)

    def _set_rates(self, learning_rate: float) -> None:
        if self._is_relative:
            return
        for settings, group in zip(self._inner.param_groups, self._groups, strict=True):
            settings["lr"] = learning_rate * group.factor if group.learns else 0.0

    def average(self) -> None:
        """Take the parameters, as an applied step has left them, into their moving average, if there is one."""
        if self._average is not None:
            self._average.take()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The parameters as they are used, then as before to the bit.

        They are used where a schedule-free optimiser has its average, or at their moving average.
        """
        if self._average is None and not hasattr(self._inner, "eval"):
            yield
            return
        trained = [parameter.detach().clone() for parameter in self._parameters]
        self.finish()
        try:
            yield
        finally:
            self._move_to("train")
            with torch.no_grad():
                for parameter, value in zip(self._parameters, trained, strict=True):
                    parameter.copy_(value)

    def state(self, *, pins: bool = False) -> dict[str, Any]:
        """What the next step depends on beside the parameters, for `load`; on the CPU (see `fetch`)."""
        state = {"optimiser": self._seen.state(pins=pins), "scaler": self._scale.state()}
        if self._average is not None:
            state["average"] = self._average.state(pins=pins)
        return state

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`, of an optimiser of the same kind over the same parameters."""
        self._seen.load(state["optimiser"])
        self._scale.load(state["scaler"])
        if self._average is not None:
            self._average.load(state["average"])

    def finish(self) -> None:
        """Leave the parameters as they are used: no more steps."""
        self._move_to("eval")
        if self._average is not None:
            self._average.put()

    def _move_to(self, point: str) -> None:
        """Schedule-free optimisers train at one point and are used at another."""
        move = getattr(self._inner, point, None)
        if move is not None:
            move()

    def _rate(self) -> float:
        """The learning rate of factor 1 as the optimiser has it, times d of D-Adaptation and Prodigy."""
        group = self._inner.param_groups[0]
        if self._is_relative:
            inner: Any = self._inner
            state = inner.state.get(group["params"][0])
            return float(inner._get_lr(group, state)) if state else math.nan
        return float(group["lr"]) / self._groups[0].factor * float(group.get("d", 1.0))

    def skip(self) -> StepOutcome:
        """Drop the accumulated gradients of a loss that was not finite; they may be finite (l1)."""
        self.clear()
        return StepOutcome(math.nan, applied=False)

    def clear(self) -> None:
        """Drop all gradients."""
        self._seen.clear()


def _decay(group: ParameterGroup) -> dict[str, float]:
    """What a group sets of the optimiser's weight decay."""
    if not group.decays:
        return {"weight_decay": 0.0}
    return {} if group.weight_decay is None else {"weight_decay": group.weight_decay}


def _by_shape(group: ParameterGroup) -> list[ParameterGroup]:
    """Matrices and vectors apart, as the optimiser will have them."""
    parts = [
        group._replace(parameters=[p for p in group.parameters if is_matrix(p) == matrices])
        for matrices in (True, False)
    ]
    return [part for part in parts if part.parameters]


def _seen_as(kind: str) -> type[Single]:
    if kind in ELEMENTWISE:
        return Flat
    return Blocks if is_blockwise(kind) else Single
