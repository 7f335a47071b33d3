"""How LoRA files name layers and parts: every spelling that is met, as kohya's stem and part.

A key is the path of a layer and an ending that says which part of the adapter it is. Paths have a prefix
for UNet or text encoder, and the checkpoint's layer names or diffusers'; their parts are joined by `.`,
by `_`, or by both, as OneTrainer and diffusers' converter leave it for DoRA.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..config.embedding import BUNDLED
from ..sdxl.unet_names import from_diffusers, is_checkpoint_name

UNET, FIRST_ENCODER, SECOND_ENCODER = "lora_unet_", "lora_te1_", "lora_te2_"
"""kohya's prefixes."""

DOWN, MID, UP, ALPHA = "lora_down.weight", "lora_mid.weight", "lora_up.weight", "alpha"
DORA = "dora_scale"
LOHA = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2")
LOKR = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")
GLORA = ("a1.weight", "a2.weight", "b1.weight", "b2.weight")
OFT = ("oft_blocks", "rescale")
WHOLE = ("diff", "w_norm", "set_weight")
"""Parts that are a change of a weight, or the weight itself, and no factors."""
BIAS = ("diff_b", "b_norm")
PARTS = (
    DOWN, MID, UP, ALPHA, DORA, "reshape_weight", *LOHA, *LOKR, *GLORA, *OFT, *WHOLE, *BIAS,
)  # fmt: skip
"""All that ComfyUI reads, by the name that it has in kohya's files and those of LyCORIS."""

_ADAPTER = r"(?:\.(?!weight$|bias$)[\w-]+)?(?:\.weight)?"
"""The name that peft gives an adapter, and what follows it; each may be absent."""
_SPELLINGS = {
    DOWN: rf"\.lora_A{_ADAPTER}|[._]lora\.down\.weight|\.lora_linear_layer\.down\.weight",
    UP: rf"\.lora_B{_ADAPTER}|[._]lora\.up\.weight|\.lora_linear_layer\.up\.weight",
    DORA: rf"\.lora_magnitude_vector{_ADAPTER}",
    "diff_b": r"\.bias\.diff",
}
"""How else a part is spelt."""
_ENDINGS = {part: re.compile(f"(?:{spelling})$") for part, spelling in _SPELLINGS.items()}
_MAGNITUDE = ".lora_magnitude_vector"

_WRAPPER = re.compile(r"base_model\.model\.")
_COMPONENTS = {
    SECOND_ENCODER: re.compile(
        r"(?:lora_te2|lora_prior_te|text_encoder_2|(?:text_encoders\.)?clip_g(?:[._]transformer)?)[._]"
    ),
    FIRST_ENCODER: re.compile(
        r"(?:lora_te1?|text_encoder|(?:text_encoders\.)?clip_l(?:[._]transformer)?)[._]"
    ),
    UNET: re.compile(r"(?:lora_unet|lycoris_unet|lycoris|unet|(?:model\.)?diffusion_model)[._]"),
}
"""kohya's prefix -> those that mean the same. CLIP-L is also what SDXL's only `lora_te_` can be."""
_OF_A_MODEL = re.compile(
    r"(?:lora|lycoris|oft|lllite|transformer|base_model|text_encoders?|model|t5xxl|clip_[a-z]+|unet)[._]"
)
"""What keys of models begin with, SDXL or not."""

_PROCESSOR = re.compile(r"_processor(?=_to_)")
_OLD_ENCODER = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
_OLD_PROJECTION = re.compile(r"(?<=self_attn_)to_(?:q|k|v|out)$")
_NO_TEXT_MODEL = re.compile(r"(?:encoder_layers|final_layer_norm|embeddings)_?")
ENCODER_LAYER = re.compile(r"text_model_encoder_layers_(\d+)_(self_attn|mlp)_(\w+)")
"""A layer of an encoder that an adapter can lie on, parts joined by `_`."""
_ENCODER = re.compile(
    r"text_model_(?:encoder_layers_\d+_(?:self_attn_(?:[qkv]|out)_proj|mlp_fc[12]|layer_norm[12])"
    r"|final_layer_norm|embeddings_(?:token|position)_embedding)|text_projection"
)


class Key(NamedTuple):
    """A key of a file. stem: kohya's, "" for no layer of SDXL; part: "" for none that is known."""

    stem: str
    part: str
    path: str
    """The file's own path of the layer, without the prefix."""
    is_peft: bool = False
    """It is peft's DoRA, which is scaled by rows."""

    @property
    def is_known(self) -> bool:
        return bool(self.stem and self.part)


def read_key(name: str) -> Key:
    """What a key of a LoRA file says."""
    path, part = _ending(name)
    component, path = _component(path)
    return Key(_stem(component, path), part, path, _MAGNITUDE in name)


def is_extra(name: str) -> bool:
    """Whether a key that is not known belongs to no model at all: embeddings and other company."""
    if name.startswith(BUNDLED):
        return True
    return not read_key(name).part and _OF_A_MODEL.match(name) is None


def is_wrapped(name: str) -> bool:
    """Whether a key is as peft itself saves it."""
    return _WRAPPER.match(name) is not None


def component_of(prefix: str) -> str:
    """kohya's prefix of what a file calls ``prefix``, such as unet; "" where it is none."""
    return _component(f"{prefix}.")[0]


def _ending(name: str) -> tuple[str, str]:
    """The path of the layer, and the part."""
    for part in PARTS:
        if name.endswith(f".{part}") and not name.endswith(".bias.diff"):
            return name.removesuffix(f".{part}"), part
    for part, ending in _ENDINGS.items():
        found = ending.search(name)
        if found is not None:
            return name[: found.start()], part
    return name, ""


def _component(path: str) -> tuple[str, str]:
    """kohya's prefix ("" where there is none) and the path without prefixes."""
    path = _WRAPPER.sub("", path, count=1) if _WRAPPER.match(path) else path
    for component, pattern in _COMPONENTS.items():
        found = pattern.match(path)
        if found is not None:
            path = path[found.end() :]
            return component, path[len("base_model.model.") :] if _WRAPPER.match(path) else path
    return "", path


def _stem(component: str, path: str) -> str:
    layer = path.replace(".", "_")
    if component in (FIRST_ENCODER, SECOND_ENCODER):
        layer = _OLD_PROJECTION.sub(lambda found: _OLD_ENCODER[found[0]], layer)
        if _NO_TEXT_MODEL.match(layer):  # the newest transformers leave it out
            layer = f"text_model_{layer}"
        return component + layer if _ENCODER.fullmatch(layer) else ""
    layer = _PROCESSOR.sub("", layer)
    if layer.endswith(("_attn1_to_out", "_attn2_to_out")):
        layer += "_0"
    ours = layer if is_checkpoint_name(layer) else from_diffusers(layer)
    return UNET + ours if ours else ""
