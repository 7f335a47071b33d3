"""What can be set about the adapters; the nodes read the defaults from here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ...base.config import Config, Problems
from ..sdxl.blocks import BLOCKS

BY_BLOCK = (
    "block_ranks", "block_alphas", "conv_block_ranks", "conv_block_alphas", "block_rates",
)  # fmt: skip
"""Settings of the LoRA that hold a number for each block."""


Algorithm = Literal["lora", "loha", "lokr", "oft", "boft", "full"]

ORTHOGONAL = ("oft", "boft")
"""The algorithms that turn the outputs of a layer instead of adding to them."""

Layers = Literal["standard", "attention", "linear", "resnets"]

Part = Literal["attention", "feed-forward", "residual", "rest"]
"""Parts of a model for full fine-tuning. ``rest``: of the UNet, all that is in none of the others."""

LARGEST_RANK = 1024
"""Of all algorithms but LoKr."""


_MOST_LOKR = 1_000_000  # it only says that the second matrix stays whole


@dataclass(frozen=True)
class LoraConfig(Config):
    """Size and scale of the adapters (kohya: network_dim, network_alpha, conv_dim, conv_alpha)."""

    title = "LoRA settings"

    rank: int = 32
    """The adapters have this rank, from 1 to 1024 (kohya: network_dim); for lokr more is allowed, and
    LyCORIS' users write 10000 where both matrices shall stay whole."""
    alpha: float = 32.0
    """The adapters are scaled by this number over their rank; it must be above 0 (kohya:
    network_alpha)."""
    conv_rank: int = 0
    """The adapters of 3x3 convolutions have this rank, up to 1024 (kohya: conv_dim), for lokr more; at 0
    no convolution is adapted."""
    conv_alpha: float = 1.0
    """The adapters of 3x3 convolutions are scaled by this number over their rank; it must be above 0."""
    rank_stabilised: bool = False
    """The scale is alpha / sqrt(rank) instead of alpha / rank, as in rsLoRA (Kalajdzievski 2023)."""
    dropout: float = 0.0
    """Each output of a down projection is 0 with this probability, from 0 to below 1 (kohya:
    network_dropout)."""
    rank_dropout: float = 0.0
    """Each rank is left out with this probability, from 0 to below 1, for each sample and layer."""
    module_dropout: float = 0.0
    """A whole adapter is left out with this probability, from 0 to below 1, for each sample and layer."""
    loraplus_ratio: float = 0.0
    """Up factors learn this many times faster, as in LoRA+ (Hayou et al. 2024); 0 turns it off."""
    max_norm: float = 0.0
    """The norm of each adapter's change of weights is held at or below this, 0 or more (kohya:
    scale_weight_norms); 0 turns it off."""
    block_ranks: tuple[int, ...] = ()
    """The adapters of each of the 23 blocks have these ranks, 0 to 1024; empty takes ``rank`` for all."""
    block_alphas: tuple[float, ...] = ()
    """The adapters of each of the 23 blocks have these alphas, 0 or more; empty takes ``alpha`` for all."""
    conv_block_ranks: tuple[int, ...] = ()
    """The adapters of 3x3 convolutions in each of the 23 blocks have these ranks, 0 to 1024; empty takes
    ``conv_rank`` for all."""
    conv_block_alphas: tuple[float, ...] = ()
    """The adapters of 3x3 convolutions in each of the 23 blocks have these alphas, 0 or more; empty
    takes ``conv_alpha`` for all."""
    block_rates: tuple[float, ...] = ()
    """The learning rates of the 23 blocks are multiplied by these numbers, 0 or more; empty multiplies
    none."""
    algorithm: Algorithm = "lora"
    """The change of a weight is a matrix product, a Hadamard product (loha), a Kronecker product
    (lokr), or anything at all (full: full fine-tuning, in which ranks and alphas say nothing); or its
    outputs are turned, in blocks of at most ``rank`` (oft, boft)."""
    dora: bool = False
    """The lengths of the columns of each weight are trained as well, as in DoRA (Liu et al. 2024)."""
    lokr_factor: int = -1
    """LoKr cuts a layer's width into so many parts, 1 or more (LyCORIS: factor), or into about its square
    root at -1."""
    full_matrix: bool = False
    """LoKr keeps its second matrix whole, whatever the rank (LyCORIS' word); nothing is scaled then."""
    dim_from_weights: bool = False
    """Layers, ranks and alphas are those of the LoRA that training starts from (kohya's word)."""
    layers: Layers = "standard"
    """These layers are adapted: those of the transformers, and with conv_rank those of resnets and
    samplers; of the transformers attention alone; linear layers and 1x1 convolutions in transformers and
    resnets; or resnets and samplers alone (the last three are LyCORIS' presets attn-only, full-lin and
    unet-convblock-only)."""
    least_rank: int = 0
    """The noisiest timestep trains only so many ranks, and the number grows evenly to all of them at
    timestep 0, as in T-LoRA (Soboleva et al. 2025); at 0 every timestep trains all, at most ``rank``."""
    oft_blocks: int = 0
    """OFT cuts the outputs of a layer into so many blocks (kohya's network_dim of networks.oft); 0 takes
    blocks of at most ``rank`` outputs, as LyCORIS."""
    oft_constraint: float = 0.0
    """The turn of a layer is held within this number times its outputs, 0 or more (kohya's network_alpha
    of networks.oft, LyCORIS' constraint); 0 turns it off."""
    parts: tuple[str, ...] = ()
    """Full fine-tuning trains these parts of the model (see `Part`); empty: all of them."""
    fused_backward: bool = False
    """Full fine-tuning steps each weight as soon as its gradient is there (see trainer/optim/at_once.py)."""
    bf16_weights: bool = False
    """Full fine-tuning holds what it trains in bf16, rounded at random, in place of float32 (see
    trainer/optim/rounding.py)."""

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
        """Whether steps go without some of the adapters, at random or by their timesteps."""
        return bool(self.dropout or self.rank_dropout or self.module_dropout or self.least_rank)

    @property
    def adapts_resnets(self) -> bool:
        """Whether resnets and samplers have adapters, as well or alone."""
        return bool(self.conv_rank or any(self.conv_block_ranks)) or self.layers == "linear"

    def check(self, problems: Problems) -> None:
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
        for name in ("block_ranks", "conv_block_ranks"):
            highest = max(getattr(self, name), default=0)
            problems.need(highest <= 1024, f"{name} hold {highest}; they must lie in 0..1024")
        self._check_ranks(problems)
        problems.need(self.alpha > 0, f"alpha is {self.alpha}; it must be above 0")
        problems.need(self.conv_alpha > 0, f"conv_alpha is {self.conv_alpha}; must be above 0")
        self._check_kind(problems)
        self._check_layers(problems)
        problems.need(
            not self.dim_from_weights or (self.algorithm == "lora" and not self.dora),
            "dim_from_weights takes the ranks of a plain LoRA: set algorithm to lora and turn off dora",
        )
        self._check_full(problems)

    def _check_ranks(self, problems: Problems) -> None:
        """LoKr's rank may be any: from half its second matrix on the matrix stays whole."""
        for name, least in (("rank", 1), ("conv_rank", 0)):
            value = getattr(self, name)
            if self.algorithm == "lokr":
                problems.need(
                    least <= value <= _MOST_LOKR,
                    f"{name} is {value}; it must lie in {least}..{_MOST_LOKR}",
                )
            else:
                problems.need(
                    least <= value <= LARGEST_RANK,
                    f"{name} is {value}; it must lie in {least}..{LARGEST_RANK}",
                )

    def _check_kind(self, problems: Problems) -> None:
        """What does not go together with the kind of adapter."""
        kind = self.algorithm
        problems.one_of("algorithm", kind, Algorithm)
        problems.need(
            kind == "lora" or not self.dropout,
            f"{kind} has no values between two factors: use rank_dropout or module_dropout, not dropout",
        )
        problems.need(
            kind not in ORTHOGONAL or not self.loraplus_ratio,
            f"{kind} has no second factors that could learn faster: set loraplus_ratio to 0",
        )
        problems.need(
            self.lokr_factor == -1 or self.lokr_factor >= 1,
            f"lokr_factor is {self.lokr_factor}; it must be -1 or at least 1",
        )
        problems.need(
            kind == "lokr" or not self.full_matrix,
            f"full_matrix is for lokr alone, and the algorithm is {kind}: turn it off",
        )
        problems.need(
            kind == "lokr" or self.lokr_factor == -1,
            f"lokr_factor is for lokr alone, and the algorithm is {kind}: set it to -1",
        )
        problems.need(
            not (self.dora and kind in ORTHOGONAL),
            f"{kind} keeps the lengths of weights, which dora trains: turn dora off",
        )
        problems.need(
            kind == "oft" or not self.oft_blocks,
            f"oft_blocks is for oft alone, and the algorithm is {kind}: set it to 0",
        )
        problems.need(
            kind in ORTHOGONAL or not self.oft_constraint,
            f"oft_constraint is for oft and boft, and the algorithm is {kind}: set it to 0",
        )
        problems.need(
            self.oft_blocks >= 0, f"oft_blocks is {self.oft_blocks}; it must be 0 or more"
        )
        problems.need(
            0 <= self.oft_constraint < math.inf,
            f"oft_constraint is {self.oft_constraint}; it must be 0 or more",
        )
        problems.need(
            not self.least_rank or (kind == "lora" and not self.dora),
            "least_rank is for plain LoRAs: set algorithm to lora and turn off dora, or set it to 0",
        )
        problems.need(
            0 <= self.least_rank <= self.rank,
            f"least_rank is {self.least_rank}; it must lie in 0..{self.rank}, the rank",
        )

    def _check_layers(self, problems: Problems) -> None:
        """What does not go together with the choice of layers."""
        problems.one_of("layers", self.layers, Layers)
        has_convs = bool(self.conv_rank or any(self.conv_block_ranks))
        problems.need(
            self.layers != "linear" or not has_convs,
            "layers is linear, which leaves out 3x3 convolutions: set conv_rank to 0",
        )
        problems.need(
            self.layers != "resnets" or has_convs,
            "layers is resnets, whose 3x3 convolutions need a rank: set conv_rank",
        )

    def _check_full(self, problems: Problems) -> None:
        """What full fine-tuning has, and what it cannot have."""
        known, is_full = get_args(Part), self.algorithm == "full"
        odd = [part for part in self.parts if part not in known]
        problems.need(not odd, f"parts hold {', '.join(odd)}; there are {', '.join(known)}")
        problems.need(
            is_full or not self.parts,
            f"parts are for full fine-tuning alone, and the algorithm is {self.algorithm}: leave them empty",
        )
        for name in ("fused_backward", "bf16_weights"):
            problems.need(
                is_full or not getattr(self, name),
                f"{name} is for full fine-tuning alone, and the algorithm is {self.algorithm}: turn it off",
            )
        problems.need(
            not (self.bf16_weights and self.max_norm),
            "max_norm shrinks weights by less than bf16 can hold: set it to 0 or turn off bf16_weights",
        )
        problems.need(
            not (is_full and (self.dora or self.drops)),
            "full fine-tuning has no factors of which something could be dropped or measured: turn off dora "
            "and set dropout, rank_dropout and module_dropout to 0",
        )


def full_config(wanted: Mapping[str, bool], **more: Any) -> LoraConfig:
    """Full fine-tuning of the wanted parts, by their names with `_` for `-`; more: other settings.

    Raises:
        ValueError: no part is wanted, or the rates are not allowed.
    """
    parts = tuple(part for part in get_args(Part) if wanted[part.replace("-", "_")])
    if not parts:
        raise ValueError(
            "Full Tuning Settings: all parts are off, so nothing would learn; turn one on."
        )
    chosen = () if len(parts) == len(get_args(Part)) else parts
    try:
        return LoraConfig(algorithm="full", parts=chosen, **more)
    except ValueError as error:
        raise ValueError(str(error).replace(LoraConfig.title, "Full Tuning Settings")) from error


def wanted_parts(config: LoraConfig) -> dict[str, bool]:
    """What `full_config` was told."""
    chosen = config.parts or get_args(Part)
    return {part.replace("-", "_"): part in chosen for part in get_args(Part)}
