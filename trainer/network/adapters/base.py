"""What all kinds of adapters share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ...frozen.weights import Weights
from ...rng import generator
from ..dropout import Dropout
from ..unet_targets import Target

Forward = Callable[..., Tensor]


class Adapter(nn.Module, ABC):
    """An adapter of one layer, whatever it does to it. Its factors are float32 parameters, or bf16 ones (`Target.dtype`)."""

    ups: tuple[str, ...] = ()
    """Names of the factors that LoRA+ lets learn faster."""
    steady: tuple[str, ...] = ()
    """Names of the factors that weight decay leaves alone."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.key = target.key
        self.alpha: float | None = target.alpha
        """None where the file has none."""
        self.dropout: Dropout | None = None

    @abstractmethod
    def initialise(self, seed: int) -> None:
        """Draw the factors so that nothing is added yet: a pure function of seed, key and name."""

    @abstractmethod
    def factors(self) -> dict[str, nn.Parameter]:
        """What is trained, by its name in the file after the layer's key."""

    @abstractmethod
    def around(self, frozen: Forward, module: nn.Module, weights: Weights) -> Forward:
        """The forward of the layer ``module`` with the adapter, given that of the frozen layer."""

    @abstractmethod
    def limit_norm(self, most: float) -> Tensor:
        """Shrink the factors where their change of the weight is longer than ``most``.

        Gives its length before, the Frobenius norm, a scalar on the adapter's device.
        """

    def measure(self, module: nn.Module, weights: Weights) -> None:
        """Take from the layer ``module`` what the adapter begins with, where it lies; most take nothing."""
        return

    def drop(self, dropout: Dropout | None) -> None:
        """From now on go without what ``dropout`` says."""
        self.dropout = dropout

    def thinned(self, output: Tensor) -> Tensor:
        """What is added to an output, without what dropout takes away: channels, as LyCORIS does where
        there are no ranks in the middle, and the whole of it for some samples."""
        if self.dropout is None:
            return output
        return self.dropout.output(self.key, self.dropout.ranks(self.key, output))

    def with_dropout_of_now(self, function: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        """The function as it is under what is dropped now, for whenever it is called again."""
        dropout = self.dropout

        def run(x: Tensor) -> Any:
            before = self.dropout
            self.drop(dropout)
            try:
                return function(x)
            finally:
                self.drop(before)

        return run


class Additive(Adapter):
    """An adapter that adds to the output of its layer: one that adds to its weight."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self.scale = target.alpha / target.rank
        self.shape = target.shape
        layer = target.module
        self.geometry = (
            {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
            if isinstance(layer, nn.Conv2d)
            else {}
        )
        """Arguments of the layer's convolution; a linear layer has none."""

    @abstractmethod
    def plain(self, x: Tensor) -> Tensor:
        """What is added for the input of the layer, in its dtype; autograd keeps what it likes."""

    @abstractmethod
    def change(self) -> Tensor:
        """The change of the layer's weight, float32 and in its shape; a tensor of its own."""

    def forward(self, x: Tensor) -> Tensor:
        """What is added for the input of the layer."""
        return self.plain(x)

    def around(self, frozen: Forward, module: nn.Module, weights: Weights) -> Forward:
        return lambda x: frozen(x) + self(x)

    def norm(self) -> Tensor:
        """The Frobenius norm of the change."""
        return self.change().norm()

    def limit_norm(self, most: float) -> Tensor:
        norm, factors = self.norm(), self.factors().values()
        ratio = (most / norm).clamp(max=1.0).pow(1 / len(factors))  # norm 0: infinite, so 1
        for factor in factors:
            factor.mul_(ratio)  # all alike
        return norm


def parameter(
    shape: tuple[int, ...],
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    *,
    blank: bool = False,
) -> nn.Parameter:
    """A factor of zeros; ``blank``: of any numbers, since `Adapter.initialise` sets them."""
    make = torch.empty if blank else torch.zeros
    return nn.Parameter(make(shape, dtype=dtype, device=device))


@torch.no_grad()
def draw_uniform(factor: nn.Parameter, seed: int, name: str, key: str) -> None:
    """Kaiming uniform with a = sqrt(5), as kohya: uniform in +-1/sqrt(fan_in)."""
    bound = 1.0 / factor[0].numel() ** 0.5
    rng = generator(seed, name, key)
    on_host = factor.device.type == "cpu"  # then no other memory has to be found for the numbers
    values = torch.rand(factor.shape, generator=rng, out=factor.detach() if on_host else None)
    factor.copy_(values.mul_(2).sub_(1).mul_(bound))


@torch.no_grad()
def draw_normal(factor: nn.Parameter, seed: int, name: str, key: str, std: float) -> None:
    """Normal with mean 0."""
    values = torch.randn(factor.shape, generator=generator(seed, name, key))
    factor.copy_(values * std)
