"""Training that starts from a LoRA: kohya's network_weights and dim_from_weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .config import LoraConfig
from .digests import digest
from .lora_file import tensors_digest
from .lora_formats import to_kohya
from .network import Network
from .targets import Target, find_targets

_DOWN, _UP, _ALPHA = "lora_down.weight", "lora_up.weight", "alpha"


class Start:
    """A LoRA to start from, in any form that can be read (see lora_formats).

    ``skipped``: how many of its layers belong to text encoders, which are not trained.
    Raises ValueError for tensors that are no SDXL LoRA.
    """

    def __init__(self, lora: Mapping[str, Tensor]) -> None:
        self.layers: dict[str, dict[str, Tensor]] = {}
        """Tensors of each adapted layer of the UNet by kohya's key, then by the part's name."""
        skipped = set()
        for name, tensor in to_kohya(lora, getattr(lora, "metadata", None)).items():
            key, _, part = name.partition(".")
            if key.startswith("lora_unet_"):
                self.layers.setdefault(key, {})[part] = tensor
            else:
                skipped.add(key)
        self.skipped = len(skipped)
        if not self.layers:
            raise ValueError(
                "The LoRA to start from has no part for the UNet: choose another, or disconnect "
                "start_from."
            )

    def digest(self) -> str:
        """A name for the tensors, whatever file they came from."""
        return digest([[key, tensors_digest(parts)] for key, parts in sorted(self.layers.items())])

    def targets(self, unet: nn.Module, config: LoraConfig) -> list[Target]:
        """The layers to adapt; with dim_from_weights those of the LoRA, at its ranks and alphas.

        Raises:
            ValueError: the LoRA and the settings do not fit together; says how to mend it.
        """
        if not config.dim_from_weights:
            targets = find_targets(unet, config)
            self._check(targets)
            return targets
        everything = dataclasses.replace(
            config, conv_rank=1, block_ranks=(), block_alphas=(), conv_block_ranks=(),
            conv_block_alphas=(), block_rates=(), dim_from_weights=False,
        )  # fmt: skip
        known = {target.key: target for target in find_targets(unet, everything)}
        self._refuse(self.layers.keys() - known.keys(), "are not in this MODEL")
        targets = [self._like_the_file(known[key]) for key in known if key in self.layers]
        self._check(targets)
        return targets

    def load(self, network: Network) -> list[str]:
        """Give the network the LoRA's factors; what is worth knowing, as sentences.

        Where the network's alpha is another one the up factors are multiplied, so that the LoRA still
        adds what it added. Layers that the LoRA lacks start as in any training.
        """
        rescaled = 0
        tensors = network.state_dict()
        for key, parts in self.layers.items():
            factor = float(parts[_ALPHA]) / network.adapters[key].alpha
            for part, tensor in parts.items():
                if part == _ALPHA:
                    continue
                own = tensors[f"{key}.{part}"]
                value = tensor.to(own).reshape(own.shape)
                tensors[f"{key}.{part}"] = value * factor if part == _UP else value
            rescaled += factor != 1.0
        network.load(tensors)
        fresh = len(network.targets) - len(self.layers)
        found = [f"training starts from a LoRA of {len(self.layers)} layers"]
        if rescaled:
            found.append(
                f"{rescaled} of them have another alpha than these settings: their factors were "
                "scaled so that the LoRA adds what it added"
            )
        if fresh:
            found.append(f"{fresh} layers that it lacks start new")
        if self.skipped:
            found.append(f"its {self.skipped} layers of text encoders are left out")
        return found

    def _like_the_file(self, target: Target) -> Target:
        parts = self.layers[target.key]
        if _DOWN not in parts:
            raise ValueError(
                f"dim_from_weights needs a plain LoRA, and {target.key} is of another kind: turn it "
                "off and set the LoRA's own algorithm and rank in LoRA Settings."
            )
        return dataclasses.replace(target, rank=parts[_DOWN].shape[0], alpha=float(parts[_ALPHA]))

    def _check(self, targets: list[Target]) -> None:
        """Refuse what does not fit: layers, kinds and ranks."""
        known = {target.key: target for target in targets}
        self._refuse(self.layers.keys() - known.keys(), "are not trained under these LoRA settings")
        for key, parts in self.layers.items():
            target = known[key]
            if (target.algorithm, target.dora) != ("lora", False) or parts.keys() != {
                _DOWN, _UP, _ALPHA
            }:  # fmt: skip
                raise ValueError(
                    f"A training can start from a plain LoRA alone, as a plain LoRA; {key} has "
                    f"{', '.join(sorted(parts))} and the algorithm is {target.algorithm}. Choose the "
                    "algorithm lora without dora, and a LoRA of that kind."
                )
            rank = parts[_DOWN].shape[0]
            if rank != target.rank:
                raise ValueError(
                    f"The LoRA to start from has rank {rank} at {key}, and LoRA Settings say "
                    f"{target.rank}: set that rank, or turn on dim_from_weights."
                )
            width, depth = target.shape[0], torch.Size(target.shape[1:]).numel()
            if (parts[_UP].numel(), parts[_DOWN].numel()) != (width * rank, rank * depth):
                raise ValueError(
                    f"The LoRA to start from is of another kind of model: {key} has factors of shapes "
                    f"{list(parts[_DOWN].shape)} and {list(parts[_UP].shape)} for a layer of "
                    f"{list(target.shape)}."
                )

    def _refuse(self, keys: set[str], why: str) -> None:
        if keys:
            raise ValueError(
                f"{len(keys)} layers of the LoRA to start from {why}, e.g. {min(keys)}. Connect the "
                "kind of MODEL that it was made for, and turn on dim_from_weights to train the layers "
                "that it has."
            )
