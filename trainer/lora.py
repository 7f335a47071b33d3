"""LoRA adapters (Hu et al. 2021): which layers of an SDXL UNet get one, and what it adds.

y = frozen(x) + up(down(x)) * alpha / rank. Names and targets are kohya's `networks.lora`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import block_of
from .config import LoraConfig
from .dropout import Dropout
from .frozen import is_linear
from .optim import ParameterGroup
from .rng import generator

PREFIX = "lora_unet_"
TRANSFORMERS = {"SpatialTransformer"}
RESIDUALS = {"ResBlock", "Downsample", "Upsample"}


@dataclass(frozen=True)
class Target:
    """A layer that gets an adapter: its path in its model, its kohya key, the adapter's size."""

    path: str
    key: str
    module: nn.Module
    rank: int
    alpha: float
    rate: float | None = None
    """The factor on its learning rate, of a layer of a text encoder; in the UNet the block has it."""


def find_targets(unet: nn.Module, config: LoraConfig) -> list[Target]:
    """The layers that kohya would adapt, in its order.

    Every linear layer and 1x1 convolution of the transformers; with conv_rank also the 3x3
    convolutions of resnets and samplers at conv_rank and their linear and 1x1 layers at rank. Ranks
    and alphas by block go before those, and a block of rank or learning rate 0 has no adapter.
    """
    adapts_convs = bool(config.conv_rank or any(config.conv_block_ranks))
    classes = TRANSFORMERS | RESIDUALS if adapts_convs else TRANSFORMERS
    targets: dict[str, Target] = {}
    for path, module in unet.named_modules():
        if type(module).__name__ in classes:
            for sub, layer in module.named_modules(prefix=path):
                target = _target(sub, layer, config)
                if target is not None:
                    targets.setdefault(target.key, target)
    return list(targets.values())


def _target(path: str, layer: nn.Module, config: LoraConfig) -> Target | None:
    block = block_of(path)
    if is_linear(layer) or (isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)):
        rank = config.block_ranks[block] if config.block_ranks else config.rank
        alpha = config.block_alphas[block] if config.block_alphas else config.alpha
    elif isinstance(layer, nn.Conv2d):
        ranks, alphas = config.conv_block_ranks, config.conv_block_alphas
        rank = ranks[block] if ranks else config.conv_rank
        alpha = alphas[block] if alphas else config.conv_alpha
    else:
        return None
    if not rank or (config.block_rates and not config.block_rates[block]):
        return None
    alpha = alpha or rank  # kohya: alpha 0 is no scaling
    if config.rank_stabilised:  # so that alpha / rank is alpha / sqrt(rank), in the file as well
        alpha *= math.sqrt(rank)
    return Target(path, PREFIX + path.replace(".", "_"), layer, rank, alpha)


class Adapter(nn.Module):
    """down [r, in(, k, k)], up [out, r(, 1, 1)]: float32 parameters, used in the input's dtype."""

    def __init__(self, target: Target, device: torch.device) -> None:
        super().__init__()
        layer, rank = target.module, target.rank
        self._geometry: tuple[Any, Any, Any] | None = None
        if isinstance(layer, nn.Conv2d):
            down = (rank, layer.in_channels // layer.groups, *layer.kernel_size)
            up = (layer.out_channels, rank, 1, 1)
            self._geometry = layer.stride, layer.padding, layer.dilation
        else:
            down = (rank, int(layer.in_features))  # type: ignore[arg-type]
            up = (int(layer.out_features), rank)  # type: ignore[arg-type]
        self.down = nn.Parameter(torch.empty(down, dtype=torch.float32, device=device))
        self.up = nn.Parameter(torch.zeros(up, dtype=torch.float32, device=device))
        self.key = target.key
        self.alpha = target.alpha
        self.scale = target.alpha / rank
        self.dropout: Dropout | None = None

    def forward(self, x: Tensor) -> Tensor:
        """What the adapter adds for the input of its layer."""
        down, up = self.down.to(x.dtype), self.up.to(x.dtype)
        geometry = self._geometry
        hidden = F.linear(x, down) if geometry is None else F.conv2d(x, down, None, *geometry)
        if self.dropout is not None:
            hidden = self.dropout.hidden(self.key, hidden)
        output = F.linear(hidden, up) if geometry is None else F.conv2d(hidden, up)
        output = output * self.scale
        return output if self.dropout is None else self.dropout.output(self.key, output)

    def limit_norm(self, most: float) -> Tensor:
        """Shrink both factors alike where the change of weights is longer than ``most``; its length before.

        The length, a scalar on the adapter's device, is the Frobenius norm of up @ down * scale, found
        without making that product. Source: kohya's scale_weight_norms.
        """
        down, up = self.down.flatten(1), self.up.flatten(1)
        squared = ((up.T @ up) * (down @ down.T)).sum()
        norm = squared.clamp(min=0.0).sqrt() * abs(self.scale)
        factor = (most / norm).clamp(max=1.0).sqrt()  # norm 0: infinite, so 1
        self.down.mul_(factor)
        self.up.mul_(factor)
        return norm


class Network:
    """All adapters of a run, by kohya key."""

    def __init__(
        self,
        targets: list[Target],
        seed: int = 0,
        device: torch.device | None = None,
    ) -> None:
        if not targets:
            raise ValueError(
                "This model has no layer that a LoRA could be trained on: no SpatialTransformer "
                "was found in its UNet. Connect an SDXL model."
            )
        device = device or torch.device("cpu")
        self.targets = targets
        self.adapters = {target.key: Adapter(target, device) for target in targets}
        for key, adapter in self.adapters.items():
            _initialise(adapter.down, seed, key)

    def parameters(self) -> list[nn.Parameter]:
        return [p for adapter in self.adapters.values() for p in (adapter.down, adapter.up)]

    def groups(self, config: LoraConfig) -> list[ParameterGroup]:
        """The parameters by the factor on their learning rate, up factors last (LoRA+).

        In the order of the targets: text encoders first, then the UNet block by block.
        """
        found: dict[tuple[float | None, int, bool], ParameterGroup] = {}
        for target in self.targets:
            adapter = self.adapters[target.key]
            rate, block = target.rate, 0
            if rate is None:
                block = block_of(target.path) if config.block_rates else 0
                rate = config.block_rates[block] if config.block_rates else 1.0
            for is_up, parameter in ((False, adapter.down), (True, adapter.up)):
                is_plus = is_up and config.loraplus_ratio > 0
                factor = rate * config.loraplus_ratio if is_plus else rate
                group = found.setdefault((target.rate, block, is_plus), ParameterGroup([], factor))
                group.parameters.append(parameter)
        return list(found.values())

    @contextmanager
    def dropping(self, dropout: Dropout | None) -> Iterator[None]:
        """While open, the adapters go without what ``dropout`` says."""
        for adapter in self.adapters.values():
            adapter.dropout = dropout
        try:
            yield
        finally:
            for adapter in self.adapters.values():
                adapter.dropout = None

    @torch.no_grad()
    def limit_norms(self, most: float) -> Tensor:
        """Keep every adapter's change of weights within ``most``; their lengths before, [adapters]."""
        return torch.stack([adapter.limit_norm(most) for adapter in self.adapters.values()])

    def state_dict(self) -> dict[str, Tensor]:
        """kohya's keys -> contiguous float32 CPU tensors, each with a storage of its own."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self._named()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the factors from kohya-format tensors; raises ValueError where keys, shapes or alphas differ."""
        own = dict(self._named())
        missing, unknown = own.keys() - tensors.keys(), tensors.keys() - own.keys()
        if missing or unknown:
            raise ValueError(
                f"The LoRA does not fit this network: {len(missing)} keys are missing and "
                f"{len(unknown)} are unknown, e.g. {sorted(missing | unknown)[:3]}."
            )
        odd = [name for name, tensor in own.items() if tensors[name].shape != tensor.shape]
        if odd:
            raise ValueError(
                f"The LoRA does not fit this network: {len(odd)} tensors have another shape, e.g. "
                f"{odd[0]} is {list(tensors[odd[0]].shape)}, not {list(own[odd[0]].shape)}."
            )
        scaled = [
            name
            for name, tensor in own.items()
            if name.endswith(".alpha") and float(tensors[name]) != float(tensor)
        ]
        if scaled:
            raise ValueError(
                f"The LoRA does not fit this network: {len(scaled)} alphas differ, e.g. {scaled[0]} "
                f"is {float(tensors[scaled[0]]):g}, not {float(own[scaled[0]]):g}."
            )
        with torch.no_grad():
            for adapter_key, adapter in self.adapters.items():
                adapter.down.copy_(tensors[f"{adapter_key}.lora_down.weight"])
                adapter.up.copy_(tensors[f"{adapter_key}.lora_up.weight"])

    def _named(self) -> Iterator[tuple[str, Tensor]]:
        for key, adapter in self.adapters.items():
            yield f"{key}.lora_down.weight", adapter.down
            yield f"{key}.lora_up.weight", adapter.up
            yield f"{key}.alpha", torch.tensor(float(adapter.alpha))


def _initialise(down: nn.Parameter, seed: int, key: str) -> None:
    """Kaiming uniform with a = sqrt(5), as kohya: uniform in +-1/sqrt(fan_in)."""
    bound = 1.0 / math.sqrt(down[0].numel())
    values = torch.rand(down.shape, generator=generator(seed, "lora_down", key))
    with torch.no_grad():
        down.copy_((values * 2 - 1) * bound)
