"""The scale that follows from peft's config is the scale that peft itself gives the layer."""

import json
import time

import pytest
import torch
from torch import nn

from pack.trainer.lora_files.formats import DIFFUSERS_METADATA, to_kohya
from pack.trainer.lora_files.names import read_key

RANK = 4
BLOCK = "down_blocks.1.attentions.0.transformer_blocks.0"
LAYERS = [
    *(f"{BLOCK}.{attention}.{layer}" for attention in ("attn1", "attn2")
      for layer in ("to_q", "to_k", "to_v", "to_out.0")),
    f"{BLOCK}.ff.net.0.proj", "mid_block.attentions.0.proj_in", "conv_in", "time_embedding.linear_1",
]  # fmt: skip


@pytest.fixture(scope="module")
def peft():
    return pytest.importorskip("peft")


def unet():
    """Linear layers at these paths."""
    root = nn.Module()
    for path in LAYERS:
        *above, last = path.split(".")
        place = root
        for name in above:
            if not hasattr(place, name):
                place.add_module(name, nn.Module())
            place = getattr(place, name)
        place.add_module(last, nn.Linear(3, 5, bias=False))
    return root


CONFIGS = {
    "plain": {},
    "alpha": {"lora_alpha": 6},
    "alpha 0": {"lora_alpha": 0},
    "rslora": {"lora_alpha": 6, "use_rslora": True},
    "the first that matches: long": {"alpha_pattern": {"attn1.to_q": 16, "to_q": 2}},
    "the first that matches: short": {"alpha_pattern": {"to_q": 2, "attn1.to_q": 16}},
    "expressions": {"alpha_pattern": {r"attn\d\.to_[qk]": 16, ".*to_out.*": 3}},
    "one of several": {"alpha_pattern": {"to_q|to_k|ff.net.0.proj": 7, "proj": 9}},
    "from the beginning": {"alpha_pattern": {r"^down_blocks.*attn2\.to_v": 11, "^to_v": 5}},
    "a dot is any letter": {"alpha_pattern": {"to.q": 12, "n.to_k": 4}},
    "no part of a word": {"alpha_pattern": {"o_q": 3, "in": 8, "0": 5, "attn1": 6}},
    "with an end of its own": {"alpha_pattern": {"to_q$": 13, "(?i:TO_K)": 2}},
    "fractions": {"lora_alpha": 1.5, "alpha_pattern": {"conv_in": 0.25}},
    "ranks": {"lora_alpha": 6, "rank_pattern": {"attn1.to_q": 8, "to_q": 2, r"to_\w": 3}},
    "ranks and alphas": {
        "rank_pattern": {"to_q": 2, "attn1": 8}, "alpha_pattern": {r".*\.to_q": 5, "to_k": 3},
    },
    "ranks and rslora": {"use_rslora": True, "rank_pattern": {r"attn\d.to_q": 2}},
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("form", ["peft", "diffusers"])
def test_every_layer_is_scaled_as_by_peft(peft, name, form):
    config = peft.LoraConfig(r=RANK, target_modules=[*LAYERS], **CONFIGS[name])
    model = peft.inject_adapter_in_model(config, unet())
    prefix = "base_model.model." if form == "peft" else "unet."
    tensors = {
        f"{prefix}{path}.lora_{half}.weight": getattr(model.get_submodule(path), f"lora_{half}")[
            "default"
        ].weight.detach()
        for path in LAYERS
        for half in "AB"
    }
    written = json.loads(json.dumps(config.to_dict(), default=sorted))
    if form == "peft":
        found = to_kohya(tensors, config=written)
    else:
        metadata = json.dumps({f"unet.{key}": value for key, value in written.items()})
        found = to_kohya(tensors, {DIFFUSERS_METADATA: metadata})
    for path in LAYERS:
        stem = read_key(f"unet.{path}.alpha").stem
        scale = float(found[f"{stem}.alpha"]) / found[f"{stem}.lora_down.weight"].shape[0]
        assert scale == pytest.approx(model.get_submodule(path).scaling["default"])


def lora(path="conv_in", rank=RANK):
    return {
        f"base_model.model.{path}.lora_A.weight": torch.ones(rank, 3),
        f"base_model.model.{path}.lora_B.weight": torch.ones(5, rank),
    }


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"alpha_pattern": {"(": 1}}, "no regular expression"),
        ({"alpha_pattern": ["to_q"]}, "no JSON object"),
        ({"rank_pattern": {"conv_in": "8"}}, "'8', no number"),
        ({"lora_alpha": None, "r": [8]}, "no number"),
        ({"lora_alpha": True}, "no number"),
        ({"r": 8}, "rank 8 for conv_in, and the file has 4"),
        ({"r": RANK, "rank_pattern": {"conv_.*": 2}}, "rank 2 for conv_in"),
        ({"init_lora_weights": "pissa"}, "changes the weights of the model"),
        ({"init_lora_weights": "pissa_niter_16"}, "changes the weights of the model"),
        ({"init_lora_weights": "olora"}, "changes the weights of the model"),
    ],
)
def test_a_config_that_cannot_be_used_is_refused_by_what_is_wrong(config, message):
    with pytest.raises(ValueError, match=message):
        to_kohya(lora(), config=config)


@pytest.mark.parametrize("start", [True, False, "gaussian", None, "eva"])
def test_starts_that_leave_the_model_alone_are_read(start):
    assert to_kohya(lora(), config={"init_lora_weights": start})


@pytest.mark.parametrize("text", ["{", "[1]", "null", "[" * 100_000])
def test_metadata_that_are_no_config_are_refused_by_name(text):
    with pytest.raises(ValueError, match=DIFFUSERS_METADATA):
        to_kohya(lora(), {DIFFUSERS_METADATA: text})


def test_a_pattern_that_would_run_for_hours_is_stopped():
    begin = time.process_time()
    with pytest.raises(ValueError, match="takes too long"):
        to_kohya(lora(BLOCK + ".attn1.to_q"), config={"alpha_pattern": {r"(.|..|...)+(?<!q)": 1}})
    assert time.process_time() - begin < 5
