"""Every attribute of the running ComfyUI's MODEL, CLIP and VAE has its place in the pack's lists."""

import ast
import inspect
import textwrap

import comfy.model_base
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.sdxl_clip
import pytest
from torch import nn

from pack.nodes.host.model import accounts


def assigned(kind):
    """Attributes that a class sets on itself or, under the name ``n``, on a copy."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    targets = [
        target
        for node in ast.walk(tree)
        for target in (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign | ast.AugAssign)
            else []
        )
    ]
    return {
        node.attr
        for target in targets
        for node in ast.walk(target)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("self", "n")
    }


def attributes(thing, *kinds):
    """What an object has, or what its classes would give it."""
    inner = nn.Module().__dict__ if isinstance(thing, nn.Module) else {}
    found = {name for kind in kinds for name in assigned(kind)}
    return (found | vars(thing).keys()) - (inner.keys() - {"training"})


PATCHER = accounts.PATCHER_COUNTS | accounts.PATCHER_REFUSED | accounts.PATCHER_FREE.keys()
PATCHERS = tuple(
    kind
    for name in ("ModelPatcher", "ModelPatcherDynamic")
    if (kind := getattr(comfy.model_patcher, name, None))
)
MODEL = accounts.MODEL_COUNTS | accounts.MODEL_REFUSED | accounts.MODEL_FREE.keys()
CLIP = accounts.CLIP_COUNTS | accounts.CLIP_REFUSED | accounts.CLIP_FREE.keys()
VAE = accounts.VAE_COUNTS | {*accounts.VAE_REFUSED, *accounts.VAE, *accounts.VAE_FREE}

PLACES = {
    "MODEL": (lambda tiny: tiny.model, PATCHERS, PATCHER),
    "CLIP's patcher": (lambda tiny: tiny.clip.patcher, PATCHERS, PATCHER),
    "VAE's patcher": (lambda tiny: tiny.vae.patcher, PATCHERS, PATCHER),
    "model": (
        lambda tiny: tiny.model.model,
        (comfy.model_base.BaseModel, comfy.model_base.SDXL),
        MODEL,
    ),
    "CLIP": (lambda tiny: tiny.clip, (comfy.sd.CLIP,), CLIP),
    "pair of encoders": (
        lambda tiny: tiny.clip.cond_stage_model,
        (comfy.sdxl_clip.SDXLClipModel,),
        accounts.PAIR_FREE.keys(),
    ),
    "pair of tokenizers": (
        lambda tiny: tiny.clip.tokenizer,
        (comfy.sdxl_clip.SDXLTokenizer,),
        accounts.TOKENIZERS.keys(),
    ),
    "VAE": (lambda tiny: tiny.vae, (comfy.sd.VAE,), VAE),
}
for each in ("clip_l", "clip_g"):
    PLACES[f"encoder {each}"] = (
        lambda tiny, name=each: getattr(tiny.clip.cond_stage_model, name),
        (comfy.sd1_clip.SDClipModel,),
        accounts.ENCODERS[each].keys() | accounts.ENCODER_FREE.keys(),
    )
    PLACES[f"tokenizer {each}"] = (
        lambda tiny, name=each: getattr(tiny.clip.tokenizer, name),
        (comfy.sd1_clip.SDTokenizer,),
        accounts.TOKENIZERS[each].keys() | accounts.TOKENIZER_FREE.keys(),
    )


@pytest.mark.parametrize("place", PLACES)
def test_every_attribute_is_in_a_list(tiny, place):
    find, kinds, listed = PLACES[place]
    found = attributes(find(tiny), *kinds)
    assert len(found) >= 2
    assert found <= listed, f"new in this ComfyUI: {sorted(found - listed)}"


def test_an_attribute_that_is_in_no_list_is_found(tiny):
    tiny.vae.sharpens = True
    assert attributes(tiny.vae, comfy.sd.VAE) - VAE == {"sharpens"}
    assert "forced_hooks" in assigned(comfy.model_patcher.ModelPatcher)


@pytest.mark.parametrize(
    ("usual", "find"),
    [
        (accounts.ENCODERS["clip_l"], lambda tiny: tiny.clip.cond_stage_model.clip_l),
        (accounts.ENCODERS["clip_g"], lambda tiny: tiny.clip.cond_stage_model.clip_g),
        (accounts.TOKENIZERS["clip_l"], lambda tiny: tiny.clip.tokenizer.clip_l),
        (accounts.TOKENIZERS["clip_g"], lambda tiny: tiny.clip.tokenizer.clip_g),
        ({**accounts.VAE, **accounts.VAE_REFUSED}, lambda tiny: tiny.vae),
    ],
)
def test_what_is_usual_is_what_comfyui_makes(tiny, usual, find):
    thing = find(tiny)
    assert {name: getattr(thing, name) for name in usual if hasattr(thing, name)} == {
        name: value for name, value in usual.items() if hasattr(thing, name)
    }


@pytest.mark.parametrize("name", ["clip_l", "clip_g"])
def test_real_encoders_are_made_with_the_usual_values(name):
    """SDXL's own classes, whose sizes the tiny model does not have."""
    import torch

    with torch.device("meta"):
        pair = comfy.sdxl_clip.SDXLClipModel(device="meta", dtype=torch.float16)
    encoder = getattr(pair, name)
    for option, value in accounts.ENCODERS[name].items():
        assert getattr(encoder, option) == value, option
