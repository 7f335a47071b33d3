"""Two sets of names for the layers of SDXL's UNet: the checkpoint's (and kohya's), and diffusers'.

The checkpoint's are written with `_` between the parts, as they stand in kohya's LoRA keys; diffusers'
with `.`. SDXL has three levels of two residual blocks, and upsamples behind transformers only.
"""

from __future__ import annotations

import re

_LEVELS, _BLOCKS = 3, 2
_RESNET = {
    "in_layers_2": "conv1",
    "emb_layers_1": "time_emb_proj",
    "out_layers_3": "conv2",
    "skip_connection": "conv_shortcut",
}
_RESNET_BACK = {theirs: ours for ours, theirs in _RESNET.items()}

_HEADS = {
    "down": re.compile(r"down_blocks_(\d+)_(resnets|attentions)_(\d+)_(.+)"),
    "up": re.compile(r"up_blocks_(\d+)_(resnets|attentions)_(\d+)_(.+)"),
    "mid": re.compile(r"mid_block_(resnets|attentions)_(\d+)_(.+)"),
}
_SAMPLER = re.compile(r"(down|up)_blocks_(\d+)_(?:down|up)samplers_0_conv")
_OURS = re.compile(r"(input|output)_blocks_(\d+)_(\d+)_(.+)|middle_block_(\d+)_(.+)")
_DOTS = re.compile(r"_(?=\d)|(?<=\d)_|(?<=ff)_")
"""Where a `_` in the path of a transformer's layer stands between two parts."""


def is_checkpoint_name(name: str) -> bool:
    """Whether a layer's name is the checkpoint's, parts joined by `_`."""
    return _OURS.fullmatch(name) is not None


def from_diffusers(name: str) -> str | None:
    """The checkpoint's name of a layer that diffusers calls ``name``, its parts joined by `_` or `.`.

    None for a name that is no layer of such a UNet.
    """
    name = name.replace(".", "_")
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
    number = int(places[-1])
    if where == "mid":
        return f"middle_block_{1 if part else 2 * number}_{rest}"
    level = int(places[0])
    if where == "down":
        return f"input_blocks_{1 + (_BLOCKS + 1) * level + number}_{part}_{rest}"
    return f"output_blocks_{(_BLOCKS + 1) * level + number}_{part}_{rest}"


def to_diffusers(name: str) -> str:
    """diffusers' name, with dots, of a layer that the checkpoint calls ``name``.

    Raises:
        ValueError: no such layer is known.
    """
    found = _OURS.fullmatch(name)
    if found is None:
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
