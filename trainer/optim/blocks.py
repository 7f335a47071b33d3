"""bitsandbytes' optimisers over one buffer: a few calls a step, bit for bit those of every tensor's own.

They quantise 8-bit states in blocks of 256 numbers that begin where a tensor begins, and keep float32
states of small tensors. So every tensor begins with a block here, and large ones lie before small ones.
What fills up a last block has no gradient: its moments are 0, or what bitsandbytes makes of 0, and never
the largest of the block.

bitsandbytes itself calls a kernel for each tensor and waits for the device after each. To leave out
the waits alone would be less code, but thousands of calls, gradients and norms would remain.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from .flat import Flat

BLOCK = 256
"""Numbers that share a scale in 8-bit states (bitsandbytes/optim/optimizer.py, since 0.44)."""

_FURTHEST = 2**30
"""A parameter that begins behind so many numbers begins a new run: kernels count in 32 bits."""


def in_blocks(count: int) -> int:
    """So many numbers, the last block filled up."""
    return -(-count // BLOCK) * BLOCK


class Blocks(Flat):
    """As Flat, for optimisers whose 8-bit states are cut into blocks (`is_blockwise`)."""

    def step(self) -> None:
        """One call for each run. Joined small tensors are not small any more, but their states stay float32."""
        inner: Any = self.inner
        joined = [
            (parameter, group, number, place)
            for number, group in enumerate(inner.param_groups)
            for place, parameter in enumerate(group["params"])
        ]
        for run, (parameter, group, number, place) in zip(self._runs, joined, strict=True):
            if self._is_small(run[0]) and not inner.state[parameter]:
                bits, inner.args.optim_bits = inner.args.optim_bits, 32
                inner.init_state(group, parameter, number, place)
                inner.args.optim_bits = bits
        super().step()

    def _is_small(self, parameter: nn.Parameter) -> bool:
        arguments: Any = self.inner.args  # pyright: ignore[reportAttributeAccessIssue]
        return arguments.optim_bits != 8 or parameter.numel() < arguments.min_8bit_size

    def _in_order(self, group: list[nn.Parameter]) -> list[nn.Parameter]:
        return sorted(group, key=self._is_small)

    def _room(self, parameter: nn.Parameter) -> int:
        return in_blocks(parameter.numel())

    def _signature(self, state: dict[str, Any], parameter: nn.Parameter) -> Hashable:
        own = _unpacked(state)
        is_small = own["state1"].is_floating_point() if own else self._is_small(parameter)
        return is_small, own.get("step", 0), self._starts[parameter] // _FURTHEST

    def _join(self, states: list[dict[str, Any]], run: list[nn.Parameter]) -> dict[str, Any]:
        unpacked = [_unpacked(state) for state in states]
        joined = dict(unpacked[0])
        for name, value in unpacked[0].items():
            parts = [state[name] for state in unpacked]
            if name in ("state1", "state2"):
                zero = 0
                if not value.is_floating_point():
                    zero = int(unpacked[0][f"qmap{name[-1]}"].abs().argmin())
                joined[name] = torch.cat(
                    [_filled(part, p, zero) for part, p in zip(parts, run, strict=True)], dim=-1
                )
            elif name.startswith("absmax"):
                joined[name] = torch.cat(parts, dim=-1)
        return joined

    def _part(self, name: str, value: Any, parameter: nn.Parameter, run: list[nn.Parameter]) -> Any:
        if isinstance(value, dict):
            return {key: self._part(key, kept, parameter, run) for key, kept in value.items()}
        start = self._starts[parameter] - self._starts[run[0]]
        if name in ("state1", "state2"):
            part = value[..., start : start + parameter.numel()]
            return part.reshape(*value.shape[:-1], *parameter.shape)
        if name.startswith("absmax"):
            return value[
                ..., start // BLOCK : (start + self._room(parameter)) // BLOCK
            ].contiguous()
        return value


def _unpacked(state: dict[str, Any]) -> dict[str, Any]:
    """A state without the dict in which bitsandbytes hides tensors from FSDP."""
    found: dict[str, Any] = {}
    for name, value in state.items():
        found |= value if isinstance(value, dict) else {name: value}
    return found


def _filled(part: Tensor, parameter: nn.Parameter, zero: int) -> Tensor:
    """A state of one parameter, [n] or [2, n], up to the end of its last block."""
    flat = part.flatten(part.dim() - parameter.dim()) if parameter.dim() else part[..., None]
    return pad(flat, (0, in_blocks(parameter.numel()) - parameter.numel()), value=zero)
