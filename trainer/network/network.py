"""All that a run trains, adapters and an embedding: parameters, groups, and tensors by key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..config.lora import LoraConfig
from ..device.transfer import fetch
from ..frozen.weights import Weights
from ..optim.optimiser import ParameterGroup
from ..sdxl.blocks import block_of
from .adapters import make_adapter
from .dropout import Dropout
from .embedding import Embedding
from .layout import lay_out, move
from .unet_targets import Target


class Network:
    """All adapters of a run, by kohya key, and the embedding that is trained with them or alone."""

    def __init__(
        self,
        targets: list[Target],
        seed: int = 0,
        device: torch.device | None = None,
        weights: Weights | None = None,
        embedding: Embedding | None = None,
    ) -> None:
        if not targets and embedding is None:
            raise ValueError(
                "This model has no layer that a LoRA could be trained on: no SpatialTransformer "
                "was found in its UNet. Connect an SDXL model."
            )
        device = device or torch.device("cpu")
        self.targets = targets
        self.embedding = embedding
        self.strength = 1.0
        """How far layers are adapted; see `at_strength`."""
        self.dropout: Dropout | None = None
        """What the adapters go without now; see `dropping`."""
        self.adapters = {target.key: make_adapter(target, device) for target in targets}
        lay_out(targets, self.adapters)
        for adapter in self.adapters.values():
            adapter.initialise(seed)
        if weights is not None:
            self.settle(device, weights)

    def settle(self, device: torch.device, weights: Weights) -> None:
        """Move the adapters to where they are trained, and let them measure their layers there.

        To be called once, with weights here or at the beginning, before anything else is done with them.
        """
        move(self.targets, self.adapters, device)
        for target in self.targets:
            self.adapters[target.key].to(device).measure(target.module, weights)
        if self.embedding is not None:
            self.embedding.move(device)

    def parameters(self) -> list[nn.Parameter]:
        factors = [p for adapter in self.adapters.values() for p in adapter.factors().values()]
        return factors + ([] if self.embedding is None else [*self.embedding.vectors.values()])

    def groups(self, config: LoraConfig) -> list[ParameterGroup]:
        """The parameters by the multiplier of their learning rate, up factors last (LoRA+).

        Text encoders come first, then the UNet block by block, and last an embedding.
        """
        found: dict[tuple[str, int, bool, bool], ParameterGroup] = {}
        for target in self.targets:
            adapter = self.adapters[target.key]
            part = target.key.split("_")[1]  # te1, te2 or unet
            block = block_of(target.path) if config.block_rates else 0
            rate = target.rate
            if rate is None:
                rate = config.block_rates[block] if config.block_rates else 1.0
            for name, parameter in adapter.factors().items():
                is_plus = name in adapter.ups and config.loraplus_ratio > 0
                is_steady = name in adapter.steady
                factor = rate * config.loraplus_ratio if is_plus else rate
                group = ParameterGroup([], factor, decays=not is_steady)
                group = found.setdefault((part, block, is_plus, is_steady), group)
                group.parameters.append(parameter)
        groups = [found[key] for key in sorted(found)]
        return groups if self.embedding is None else [*groups, self.embedding.group()]

    def begin_step(self, done: int) -> None:
        """Told before the gradients of a step, with the number of steps before it."""
        if self.embedding is not None:
            self.embedding.begin_step(done)

    @contextmanager
    def dropping(self, dropout: Dropout | None) -> Iterator[None]:
        """While open, the adapters go without what ``dropout`` says."""
        before = self.dropout
        self._drop(dropout)
        try:
            yield
        finally:
            self._drop(before)

    def _drop(self, dropout: Dropout | None) -> None:
        if dropout is self.dropout:
            return
        self.dropout = dropout
        for adapter in self.adapters.values():
            adapter.drop(dropout)

    @contextmanager
    def at_strength(self, strength: float) -> Iterator[None]:
        """While open, the adapters act as a LoRA that is loaded at ``strength``; 0: as if absent.

        An embedding is at 0 what it began as.
        """
        before, self.strength = self.strength, strength
        try:
            yield
        finally:
            self.strength = before

    @torch.no_grad()
    def limit_norms(self, most: float) -> Tensor:
        """Keep every adapter's change of weights within ``most``; their lengths before, [adapters]."""
        norms = [adapter.limit_norm(most) for adapter in self.adapters.values()]
        return torch.stack(norms) if norms else torch.zeros(0)

    def state_dict(self, *, pins: bool = False) -> dict[str, Tensor]:
        """kohya's keys -> contiguous CPU tensors in the dtype that is trained, each with a storage of its own; ``pins``: see `fetch`."""
        names, tensors = zip(*self._named(), strict=True)
        copies = [tensor.detach().clone() for tensor in fetch(tensors, pins=pins)]
        return dict(zip(names, copies, strict=True))

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
                for name, factor in adapter.factors().items():
                    factor.copy_(tensors[f"{adapter_key}.{name}"])
            for name, vectors in () if self.embedding is None else self.embedding.named():
                vectors.copy_(tensors[name])

    def _named(self) -> Iterator[tuple[str, Tensor]]:
        for key, adapter in self.adapters.items():
            for name, factor in adapter.factors().items():
                yield f"{key}.{name}", factor
            if adapter.alpha is not None:
                yield f"{key}.alpha", torch.tensor(float(adapter.alpha))
        if self.embedding is not None:
            yield from self.embedding.named()
