"""How an optimiser sees the adapters: parameter by parameter, or as few long ones.

Element by element it makes no difference, so an optimiser whose maths look at nothing else gets all
parameters of a group as one: then clearing, the norm, clipping and the step are a few operations,
however many adapters there are. States keep the layout of single parameters either way.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.utils._pytree import tree_flatten, tree_unflatten

from ..device.neighbours import whole_buffer
from ..device.transfer import fetch

Make = Callable[[list[list[nn.Parameter]]], torch.optim.Optimizer]
"""The parameters of each group -> an optimiser over them."""

ROW = 4096
"""The norm is found in rows of so many numbers: one long sum in float32 is 1 % off on a CPU."""


class Single:
    """An optimiser over the parameters as they are."""

    def __init__(self, make: Make, groups: list[list[nn.Parameter]]) -> None:
        self._make, self._groups = make, groups
        self._parameters = [parameter for group in groups for parameter in group]
        self.inner = make(groups)

    def clip(self, scale: float, limit: float) -> Tensor:
        """Divide the gradients by ``scale``, then clip their norm to ``limit``.

        Gives the norm between both, a scalar on the device, which is not waited for.
        """
        if scale != 1.0:
            for parameter in self._parameters:
                if parameter.grad is not None:
                    parameter.grad.mul_(1.0 / scale)
        return clip_grad_norm_(self._parameters, limit)

    def exchange(self, total: Callable[[Tensor], None]) -> None:
        """Have ``total`` change the gradients, all of them in one buffer, in place."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if not gradients:
            return
        buffer = torch.cat([gradient.flatten() for gradient in gradients])
        total(buffer)
        parts = buffer.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def step(self) -> None:
        """Apply the clipped gradients."""
        self.inner.step()

    def clear(self) -> None:
        """Drop all gradients."""
        self.inner.zero_grad(set_to_none=True)

    def state(self, *, pins: bool) -> dict[str, Any]:
        """As torch's optimisers have it, by the places of the parameters; on the CPU (see `fetch`)."""
        packed = self.inner.state_dict()
        values, form = tree_flatten(packed["state"])
        places = [place for place, value in enumerate(values) if isinstance(value, Tensor)]
        found = fetch([values[place] for place in places], pins=pins)
        for place, tensor in zip(places, found, strict=True):
            values[place] = tensor
        return {**packed, "state": tree_unflatten(values, form)}

    def load(self, state: dict[str, Any]) -> None:
        """Take over a state of the same parameters; how it is computed stays as it is here."""
        groups = [
            {**theirs, **{name: ours[name] for name in ("fused", "foreach") if name in ours}}
            for theirs, ours in zip(state["param_groups"], self.inner.param_groups, strict=True)
        ]
        self.inner.load_state_dict({**state, "param_groups": groups})
        self._keep_dtypes(state)

    def _keep_dtypes(self, state: dict[str, Any]) -> None:
        """Give every tensor the dtype that it was saved with: torch casts them to their parameter's."""
        parameters = [p for group in self.inner.param_groups for p in group["params"]]
        places = [place for group in state["param_groups"] for place in group["params"]]
        for place, parameter in zip(places, parameters, strict=True):
            _recast(self.inner.state.get(parameter, {}), state["state"].get(place, {}))


class Flat(Single):
    """An optimiser over one buffer, into which the parameters are views; their gradients likewise.

    For optimisers that treat every number by itself; `Blocks` has those that look at blocks of them.

    A parameter that no gradient has reached yet is none of its: it stays as it is, decay or not, as
    where torch finds no gradient. So the gradients' buffer is made at the first step. From then on
    ``grad`` of all others stays the same tensor, which is cleared and not taken away.
    """

    def __init__(self, make: Make, groups: list[list[nn.Parameter]]) -> None:
        super().__init__(make, groups)
        self._waiting = self._parameters
        self._runs: list[list[nn.Parameter]] = []
        self._starts: dict[nn.Parameter, int] = {}
        self._size = 0
        self._laid = [self._in_order(group) for group in groups]
        for parameter in (parameter for group in self._laid for parameter in group):
            self._starts[parameter] = self._size
            self._size += self._room(parameter)
        self._values = self._buffer()
        self._gradients = self._values.new_zeros(0)

    def clip(self, scale: float, limit: float) -> Tensor:
        self._gather()
        if scale != 1.0:
            self._gradients.mul_(1.0 / scale)
        rows = torch.linalg.vector_norm(self._gradients.view(-1, ROW), dim=1)
        norm = torch.linalg.vector_norm(rows)
        self._gradients.mul_((limit / (norm + 1e-6)).clamp(max=1.0))  # as torch's own clipping
        return norm

    def exchange(self, total: Callable[[Tensor], None]) -> None:
        self._gather()
        if len(self._gradients):
            total(self._gradients)

    def clear(self) -> None:
        self._gradients.zero_()
        for parameter in self._waiting:
            parameter.grad = None

    def state(self, *, pins: bool) -> dict[str, Any]:
        return self._split(super().state(pins=pins))

    def _split(self, packed: dict[str, Any]) -> dict[str, Any]:
        """A state of runs as one of single parameters."""
        if not self._runs:
            return packed
        places = self._places()
        states = {
            places[parameter]: {
                name: self._part(name, value, parameter, run) for name, value in kept
            }
            for number, run in enumerate(self._runs)
            if (kept := packed["state"].get(number, {}).items())
            for parameter in run
        }
        return {"state": states, "param_groups": self._described(packed, self._groups)}

    def load(self, state: dict[str, Any]) -> None:
        self._runs, self._waiting = [], self._parameters
        self.inner = self._make(self._groups)
        super().load(state)

    def _gather(self) -> None:
        """Take in the parameters that a gradient has reached for the first time."""
        found = {p for p in self._waiting if p.grad is not None}
        if not found:
            return
        if not len(self._gradients):
            self._gradients = self._values.new_zeros(-(-self._size // ROW) * ROW)
        for parameter in found:  # one by one, each gradient's memory being free before the next
            gradient = parameter.grad
            assert gradient is not None
            parameter.grad = self._view(self._gradients, parameter).copy_(gradient)
            del gradient  # the last one's, too
        state = self._split(self.inner.state_dict())
        self._waiting = [parameter for parameter in self._waiting if parameter not in found]
        self._arrange(state)

    def _arrange(self, state: dict[str, Any]) -> None:
        """Make one parameter of all neighbours that gradients reach and whose states agree."""
        places, waiting = self._places(), set(self._waiting)
        grouped: list[list[list[nn.Parameter]]] = []
        for group in self._laid:
            runs: list[list[nn.Parameter]] = []
            last: Hashable = None
            for parameter in group:
                own = state["state"].get(places[parameter], {})
                like = None if parameter in waiting else self._signature(own, parameter)
                if like is not None and like == last:
                    runs[-1].append(parameter)
                elif like is not None:
                    runs.append([parameter])
                last = like
            grouped.append(runs)
        self._runs = [run for runs in grouped for run in runs]
        self.inner = self._make([[self._joined(run) for run in runs] for runs in grouped])
        joined = {
            number: self._join([state["state"].get(places[p], {}) for p in run], run)
            for number, run in enumerate(self._runs)
        }
        states = {number: values for number, values in joined.items() if values}
        super().load({"state": states, "param_groups": self._described(state, grouped)})

    def _joined(self, run: list[nn.Parameter]) -> nn.Parameter:
        """The stretch of the buffers that a run takes, as one parameter with its gradient."""
        stretch = slice(self._starts[run[0]], self._starts[run[-1]] + self._room(run[-1]))
        joined = nn.Parameter(self._values[stretch])
        joined.grad = self._gradients[stretch]
        return joined

    def _in_order(self, group: list[nn.Parameter]) -> list[nn.Parameter]:
        """A group's parameters as they follow each other in the buffer.

        Neighbours stay neighbours: who computes with several as one goes on doing so.
        """
        if len({parameter.untyped_storage()._cdata for parameter in group}) > 1:
            return group
        return sorted(group, key=lambda parameter: parameter.storage_offset())

    def _buffer(self) -> Tensor:
        """That of the parameters: what they lie in already, if it is laid out in this way, else a new one."""
        laid = whole_buffer([parameter for group in self._laid for parameter in group])
        if laid is not None and len(laid) == self._size:
            return laid
        values = self._parameters[0].new_zeros(self._size)
        for parameter in self._parameters:
            parameter.data = self._view(values, parameter).copy_(parameter.detach())
        return values

    def _room(self, parameter: nn.Parameter) -> int:
        """Numbers of the buffer that a parameter takes."""
        return parameter.numel()

    def _signature(self, state: dict[str, Any], parameter: nn.Parameter) -> Hashable:
        """What must agree where parameters become one: all of a state but what is there for each element."""
        return tuple(
            (
                name,
                "each" if _is_each(value, parameter) else None if value is None else float(value),
            )
            for name, value in sorted(state.items())
        )

    def _join(self, states: list[dict[str, Any]], run: list[nn.Parameter]) -> dict[str, Any]:
        """The states of neighbours as that of the one parameter that they become; empties them on the way."""
        each = [name for name, value in states[0].items() if _is_each(value, run[0])]
        rest = {name: value for name, value in states[0].items() if name not in each}
        return rest | {
            name: torch.cat([state.pop(name).flatten() for state in states]) for name in each
        }

    def _part(self, name: str, value: Any, parameter: nn.Parameter, run: list[nn.Parameter]) -> Any:
        """What a state of a run is for one of its parameters."""
        if not isinstance(value, Tensor):
            return value
        if not value.dim():
            return value.clone()
        start = self._starts[parameter] - self._starts[run[0]]
        return value[start : start + parameter.numel()].view_as(parameter)

    def _view(self, buffer: Tensor, parameter: nn.Parameter) -> Tensor:
        start = self._starts[parameter]
        return buffer[start : start + parameter.numel()].view_as(parameter)

    def _places(self) -> dict[nn.Parameter, int]:
        return {parameter: place for place, parameter in enumerate(self._parameters)}

    @staticmethod
    def _described(state: dict[str, Any], groups: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
        """The settings of the groups, over so many parameters each, which are counted through."""
        described, first = [], 0
        for settings, group in zip(state["param_groups"], groups, strict=True):
            described.append({**settings, "params": list(range(first, first + len(group)))})
            first += len(group)
        return described


def _recast(loaded: Any, saved: Any) -> Any:
    """What was loaded, its tensors in the dtypes of what was saved; of dicts and lists in place."""
    if isinstance(saved, Tensor) and isinstance(loaded, Tensor):
        return loaded if loaded.dtype == saved.dtype else saved.to(loaded.device, copy=True)
    pairs: Iterable[Hashable] = ()
    if isinstance(saved, dict) and isinstance(loaded, dict):
        pairs = saved.keys() & loaded.keys()
    elif isinstance(saved, list) and isinstance(loaded, list):
        pairs = range(min(len(saved), len(loaded)))
    for name in pairs:
        loaded[name] = _recast(loaded[name], saved[name])
    return loaded


def _is_each(value: Any, parameter: nn.Parameter) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and value.shape == parameter.shape
