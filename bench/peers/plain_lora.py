"""The plain way to train a LoRA, as a measure: org(x) + up(down(x)) * scale by ordinary autograd."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Naive:
    """A copy of a UNet with ordinary frozen weights and a LoRA on the layers of the given paths."""

    def __init__(self, unet: nn.Module, paths: list[str], rank: int, alpha: float) -> None:
        self.unet = copy.deepcopy(unet)
        for name, weight in list(self.unet.named_parameters()):
            owner, _, leaf = name.rpartition(".")
            frozen = nn.Parameter(weight.detach().clone(), requires_grad=False)
            setattr(self.unet.get_submodule(owner), leaf, frozen)
        self.factors: list[tuple[nn.Parameter, nn.Parameter]] = []
        for path in paths:
            layer: Any = self.unet.get_submodule(path)  # a linear layer of ComfyUI's
            device = layer.weight.device
            down = nn.Parameter(torch.zeros(rank, layer.in_features, device=device))
            up = nn.Parameter(torch.zeros(layer.out_features, rank, device=device))
            layer.forward = _with_lora(layer.forward, down, up, alpha / rank)
            self.factors.append((down, up))

    def checkpoint_blocks(self) -> None:
        """Recompute transformer blocks and resnets in backward, as every peer does."""
        for module in self.unet.modules():
            if type(module).__name__ in ("BasicTransformerBlock", "ResBlock"):
                module.forward = _recomputed(module.forward)


def _with_lora(
    forward: Callable[[Tensor], Tensor], down: nn.Parameter, up: nn.Parameter, scale: float
) -> Callable[[Tensor], Tensor]:
    return lambda x: forward(x) + (x @ down.T.to(x.dtype)) @ up.T.to(x.dtype) * scale


def _recomputed(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(*args: Any, **kwargs: Any) -> Any:
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run
