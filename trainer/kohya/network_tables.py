"""The network modules of kohya's that can be trained, and what each takes as network_args."""

from __future__ import annotations

from typing import NamedTuple

from ..config.lora import Algorithm, Layers

LORA, LYCORIS, OFT = "networks.lora", "lycoris.kohya", "networks.oft"
NATIVE: dict[str, Algorithm] = {"networks.loha": "loha", "networks.lokr": "lokr"}
"""kohya's own LoHa and LoKr, of sd-scripts 0.11: the layers of networks.lora."""

FRONT_END = {
    LORA: ("Standard", "Kohya LoCon"),
    LYCORIS: ("LyCORIS/", "LoCon"),
    "networks.loha": ("Kohya LoHa",),
    "networks.lokr": ("Kohya LoKr",),
    OFT: ("",),
}
"""How the LoRA_type of kohya's graphical front end begins for each network module that can be trained."""

OTHER_MODULES = {
    "networks.dylora": "DyLoRA cannot be trained here; networks.lora is a LoRA of one rank",
    "networks.lora_fa": "LoRA-FA cannot be trained here; networks.lora trains both factors",
}
"""Network modules for SDXL that are known and cannot be trained, and why."""

WEIGHTS = ("down_lr_weight", "mid_lr_weight", "up_lr_weight")
NEEDS_BLOCKS = ("block_alphas", "conv_block_dims", "conv_block_alphas")
PLUS = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")
_SHARED = ("conv_dim", "conv_alpha", "rank_dropout", "module_dropout")
ARGUMENTS = {
    LORA: {
        *_SHARED, "dropout", *NEEDS_BLOCKS, *WEIGHTS, *PLUS, "block_dims", "block_lr_zero_threshold",
    },
    LYCORIS: {
        *_SHARED, "dropout", "algo", "factor", "dora_wd", "wd_on_output", "rs_lora", "preset",
        "full_matrix",
    },
    "networks.loha": {*_SHARED, *PLUS},
    "networks.lokr": {*_SHARED, *PLUS, "factor"},
    OFT: {"enable_all_linear", "enable_conv"},
}  # fmt: skip
"""What each module takes."""

_TUCKER = "the Tucker form of convolutions is not supported"
_PATTERNS = "layers cannot be chosen by patterns here; conv_dim chooses those of resnets"
_OF_NATIVE = {
    "use_tucker": _TUCKER,
    "train_llm_adapter": "SDXL has no such adapter",
    "exclude_patterns": _PATTERNS,
    "include_patterns": _PATTERNS,
    "network_reg_dims": _PATTERNS,
    "network_reg_lrs": "layers cannot have learning rates by patterns here",
}
OFF: dict[str, dict[str, str]] = {
    **dict.fromkeys(NATIVE, _OF_NATIVE),
    LYCORIS: {
        "use_scalar": "a trained scalar in front of each adapter is not supported",
        "train_norm": "norms cannot be trained",
        "use_cp": _TUCKER,
        "use_conv_cp": _TUCKER,
        "use_tucker": _TUCKER,
        "decompose_both": "the first matrix of LoKr always stays whole",
        "unbalanced_factorization": "LoKr always divides width and depth alike",
        "rank_dropout_scale": "what rank dropout leaves is not scaled up",
        "bypass_mode": "the way of computing is chosen for each adapter",
        "rescaled": "ComfyUI takes no notice of the lengths that it trains",
        "train_t5xxl": "SDXL has no such text encoder",
        "train_llm_adapter": "SDXL has no such adapter",
    },
}
"""Options that must be off, and why."""

CONSTRAINT = ("constraint", "constrain")
"""LyCORIS' two names of how far OFT may turn; to other algorithms they mean nothing."""
MEANINGLESS = {
    LYCORIS: {"block_size", "unit", "train_on_input", "disable_conv_cp", *CONSTRAINT, *PLUS}
}
"""Options that mean something to algorithms alone that cannot be trained, or nothing."""

ALGORITHMS: dict[str, Algorithm] = {
    "lora": "lora",
    "locon": "lora",
    "loha": "loha",
    "lokr": "lokr",
    "diag-oft": "oft",
    "boft": "boft",
}
"""LyCORIS' names of those that can be trained."""

OTHER_ALGORITHMS = {
    "tlora": "kohya's trainer never tells LyCORIS' T-LoRA the timestep; in the settings nodes least_rank does",
    "full": "that is full fine-tuning, which Full Tuning Settings do in the graph: take algo out and connect them to Train",
    "glora": "GLoRA, whose change of a weight depends on that weight, cannot be trained here; lora's does not",
    "ia3": "iA3, one factor for each row or column of a weight, cannot be trained here; lora at network_dim=1 is the smallest",
    "dylora": "DyLoRA cannot be trained here; lora is a LoRA of one rank",
}
"""LyCORIS' algorithms that are known, and why they cannot be trained."""


class Preset(NamedTuple):
    """What a preset of LyCORIS means for SDXL."""

    layers: Layers
    convs: bool
    """Whether the convolutions of resnets are adapted."""
    text: bool
    """Whether the text encoders are."""


PRESETS = {
    "full": Preset("standard", True, True),
    "full-lin": Preset("linear", False, True),
    "attn-mlp": Preset("standard", False, True),
    "attn-only": Preset("attention", False, True),
    "unet-only": Preset("standard", True, False),
    "unet-transformer-only": Preset("standard", False, False),
    "unet-convblock-only": Preset("resnets", True, False),
}
"""LyCORIS' presets, but for that of an algorithm that cannot be trained. Source: its config.py."""
