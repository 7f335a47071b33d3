"""What can be set about the adapters; the nodes read the defaults from here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ..sdxl.blocks import BLOCKS
from .problems import Problems, Settings

BY_BLOCK = (
    "block_ranks", "block_alphas", "conv_block_ranks", "conv_block_alphas", "block_rates",
)  # fmt: skip
"""Settings of the LoRA that hold a number for each block."""


Algorithm = Literal["lora", "loha", "lokr"]


@dataclass(frozen=True)
class LoraConfig(Settings):
    """Size and scale of the adapters (kohya: network_dim, network_alpha, conv_dim, conv_alpha)."""

    rank: int = 32
    alpha: float = 32.0
    conv_rank: int = 0
    """0: no convolution is adapted. Otherwise kohya's conv_dim for 3x3 convolutions."""
    conv_alpha: float = 1.0
    rank_stabilised: bool = False
    """rsLoRA (Kalajdzievski 2023): the scale is alpha / sqrt(rank)."""
    dropout: float = 0.0
    """kohya's network_dropout: the chance of each of the down projection's outputs to be 0."""
    rank_dropout: float = 0.0
    """The chance of each rank to be left out, for each sample and layer."""
    module_dropout: float = 0.0
    """The chance of a whole adapter to be left out, for each sample and layer."""
    loraplus_ratio: float = 0.0
    """LoRA+ (Hayou et al. 2024): up factors learn this many times faster; 0 turns it off."""
    max_norm: float = 0.0
    """kohya's scale_weight_norms: no adapter's change of weights is longer; 0 turns it off."""
    block_ranks: tuple[int, ...] = ()
    block_alphas: tuple[float, ...] = ()
    conv_block_ranks: tuple[int, ...] = ()
    conv_block_alphas: tuple[float, ...] = ()
    block_rates: tuple[float, ...] = ()
    """23 numbers each, by block (see trainer/sdxl/blocks.py); empty: the same everywhere. Rates are factors."""
    algorithm: Algorithm = "lora"
    """How the change of a weight is put together: a product, a Hadamard or a Kronecker product."""
    dora: bool = False
    """DoRA (Liu et al. 2024): the lengths of the columns of each weight are trained as well."""
    lokr_factor: int = -1
    """LyCORIS' factor of LoKr: into how many parts a layer's width is cut; -1 for about its root."""

    dim_from_weights: bool = False
    """Layers, ranks and alphas are those of the LoRA that training starts from (kohya's word)."""

    @property
    def has_several_rates(self) -> bool:
        """Whether parts of the adapters learn at rates of their own."""
        return self.loraplus_ratio not in (0.0, 1.0) or len({*self.block_rates} - {0.0}) > 1

    @property
    def is_plain(self) -> bool:
        """Whether the adapters are plain LoRA of which nothing is left out."""
        return self.algorithm == "lora" and not self.dora and not self.drops

    @property
    def drops(self) -> bool:
        """Whether anything of the adapters is left out at random."""
        return bool(self.dropout or self.rank_dropout or self.module_dropout)

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = Problems()
        for name in ("dropout", "rank_dropout", "module_dropout"):
            value = getattr(self, name)
            problems.need(0 <= value < 1, f"{name} is {value}; it must lie in [0, 1)")
        for name in ("loraplus_ratio", "max_norm"):
            value = getattr(self, name)
            problems.need(0 <= value < math.inf, f"{name} is {value}; it must be 0 or more")
        for name in BY_BLOCK:
            values = getattr(self, name)
            problems.need(
                len(values) in (0, BLOCKS),
                f"{name} are {len(values)} numbers; give {BLOCKS} or none",
            )
            problems.need(
                all(0 <= value < math.inf for value in values), f"{name} hold a number below 0"
            )
        for name in ("block_ranks", "block_rates"):
            values = getattr(self, name)
            problems.need(any(values) or not values, f"{name} are all 0: nothing would learn")
        problems.need(1 <= self.rank <= 1024, f"rank is {self.rank}; it must lie in 1..1024")
        problems.need(self.alpha > 0, f"alpha is {self.alpha}; it must be above 0")
        problems.need(
            0 <= self.conv_rank <= 1024, f"conv_rank is {self.conv_rank}; it must lie in 0..1024"
        )
        problems.need(self.conv_alpha > 0, f"conv_alpha is {self.conv_alpha}; must be above 0")
        self._check_kind(problems)
        problems.need(
            not self.dim_from_weights or (self.algorithm == "lora" and not self.dora),
            "dim_from_weights takes the ranks of a plain LoRA: set algorithm to lora and turn off dora",
        )
        problems.finish("LoRA settings")

    def _check_kind(self, problems: Problems) -> None:
        """What does not go together with the kind of adapter."""
        kind = self.algorithm
        problems.one_of("algorithm", kind, Algorithm)
        problems.need(
            kind == "lora" or not self.dropout,
            f"{kind} has no values between two factors: use rank_dropout or module_dropout, not dropout",
        )
        problems.need(
            kind == "lora" or not self.loraplus_ratio,
            f"{kind} has no up factors that could learn faster: set loraplus_ratio to 0",
        )
        problems.need(
            self.lokr_factor == -1 or self.lokr_factor >= 1,
            f"lokr_factor is {self.lokr_factor}; it must be -1 or at least 1",
        )
        problems.need(
            kind == "lokr" or self.lokr_factor == -1,
            f"lokr_factor is for lokr alone, and the algorithm is {kind}: set it to -1",
        )
