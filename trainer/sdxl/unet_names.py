"""Two sets of names for the layers of SDXL's UNet: the checkpoint's (and kohya's), and diffusers'.

The checkpoint's are written with `_` between the parts, as they stand in kohya's LoRA keys; diffusers'
with `.`. SDXL has three levels of two residual blocks, and upsamples behind transformers only.
"""

from __future__ import annotations

import re

_LEVELS, _BLOCKS = 3, 2
_OUTER = {
    "input_blocks_0_0": "conv_in",
    "time_embed_0": "time_embedding.linear_1",
    "time_embed_2": "time_embedding.linear_2",
    "label_emb_0_0": "add_embedding.linear_1",
    "label_emb_0_2": "add_embedding.linear_2",
    "out_0": "conv_norm_out",
    "out_2": "conv_out",
}
"""Layers before, beside and behind the blocks."""
_OUTER_BACK = {theirs.replace(".", "_"): ours for ours, theirs in _OUTER.items()} | {
    "class_embedding_linear_1": "label_emb_0_0",  # as models without sizes call it
    "class_embedding_linear_2": "label_emb_0_2",
}
_RESNET = {
    "in_layers_0": "norm1",
    "in_layers_2": "conv1",
    "emb_layers_1": "time_emb_proj",
    "out_layers_0": "norm2",
    "out_layers_3": "conv2",
    "skip_connection": "conv_shortcut",
}
_RESNET_BACK = {theirs: ours for ours, theirs in _RESNET.items()}
_TRANSFORMER = re.compile(
    r"norm|proj_in|proj_out|transformer_blocks_\d+_"
    r"(?:norm[123]|attn[12]_to_(?:q|k|v|out_0)|ff_net_0_proj|ff_net_2)"
)
"""The layers of a transformer, which both call the same."""

_HEADS = {
    "down": re.compile(r"down_blocks_(\d+)_(resnets|attentions)_(\d+)_(.+)"),
    "up": re.compile(r"up_blocks_(\d+)_(resnets|attentions)_(\d+)_(.+)"),
    "mid": re.compile(r"mid_block_(resnets|attentions)_(\d+)_(.+)"),
}
_SAMPLER = re.compile(r"(down|up)_blocks_(\d+)_(?:down|up)samplers_0_conv")
_OURS = re.compile(r"(input|output)_blocks_([0-8])_([0-2])_(.+)|middle_block_([0-2])_(.+)")
_DOTS = re.compile(r"_(?=\d)|(?<=\d)_|(?<=ff)_")
"""Where a `_` in the path of a transformer's layer stands between two parts."""


def is_checkpoint_name(name: str) -> bool:
    """Whether a layer's name is the checkpoint's, parts joined by `_`.

    Of the numbers only those are looked at that tell SDXL from Stable Diffusion 1 and 2: these have a
    fourth level, and transformers in the first one.
    """
    if name in _OUTER:
        return True
    found = _OURS.fullmatch(name)
    if found is None:
        return False
    side, block, _, rest, _, middle_rest = found.groups()
    layer = rest or middle_rest
    if _TRANSFORMER.fullmatch(layer):
        return side is None or (int(block) > _BLOCKS if side == "input" else int(block) < 6)
    return layer in _RESNET or layer in ("op", "conv")


def from_diffusers(name: str) -> str | None:
    """The checkpoint's name of a layer that diffusers calls ``name``, its parts joined by `_` or `.`.

    None for a name that is no layer of such a UNet.
    """
    name = name.replace(".", "_")
    if name in _OUTER_BACK:
        return _OUTER_BACK[name]
    sampler = _SAMPLER.fullmatch(name)
    if sampler is not None:
        level = int(sampler[2])
        if level >= _LEVELS - 1:
            return None
        if sampler[1] == "down":
            return f"input_blocks_{(_BLOCKS + 1) * (level + 1)}_0_op"
        return f"output_blocks_{(_BLOCKS + 1) * level + _BLOCKS}_2_conv"
    for where, pattern in _HEADS.items():
        found = pattern.fullmatch(name)
        if found is not None:
            *places, rest = found.groups()
            return _inside(where, places, rest)
    return None


def _inside(where: str, places: list[str], rest: str) -> str | None:
    """The name of a layer inside a residual block or transformer."""
    if "resnets" in places:
        if rest not in _RESNET_BACK:
            return None
        rest, part = _RESNET_BACK[rest], 0
    else:
        part = 1
        if not _TRANSFORMER.fullmatch(rest):
            return None
    number = int(places[-1])
    if where == "mid":
        return f"middle_block_{1 if part else 2 * number}_{rest}"
    level = int(places[0])
    if level >= _LEVELS or (part and level == (0 if where == "down" else _LEVELS - 1)):
        return None
    if where == "down":
        return f"input_blocks_{1 + (_BLOCKS + 1) * level + number}_{part}_{rest}"
    return f"output_blocks_{(_BLOCKS + 1) * level + number}_{part}_{rest}"


def to_diffusers(name: str) -> str:
    """diffusers' name, with dots, of a layer that the checkpoint calls ``name``.

    Raises:
        ValueError: no such layer is known.
    """
    if name in _OUTER:
        return _OUTER[name]
    found = _OURS.fullmatch(name)
    if found is None or not is_checkpoint_name(name):
        raise ValueError(f"{name} is no layer of SDXL's UNet that has a name in diffusers.")
    side, block, part, rest, middle, middle_rest = found.groups()
    if middle is not None:
        kind, number = ("attentions", 0) if middle == "1" else ("resnets", int(middle) // 2)
        return f"mid_block.{kind}.{number}.{_rest(kind, middle_rest)}"
    if rest == "op":
        return f"down_blocks.{int(block) // (_BLOCKS + 1) - 1}.downsamplers.0.conv"
    if side == "input":
        level, number = divmod(int(block) - 1, _BLOCKS + 1)
        where = f"down_blocks.{level}"
    else:
        level, number = divmod(int(block), _BLOCKS + 1)
        where = f"up_blocks.{level}"
    if rest == "conv":
        return f"{where}.upsamplers.0.conv"
    kind = "attentions" if part == "1" else "resnets"
    return f"{where}.{kind}.{number}.{_rest(kind, rest)}"


def _rest(kind: str, rest: str) -> str:
    if kind == "attentions":
        return _DOTS.sub(".", rest)
    if rest not in _RESNET:
        raise ValueError(f"{rest} is no layer of a residual block that has a name in diffusers.")
    return _RESNET[rest]
