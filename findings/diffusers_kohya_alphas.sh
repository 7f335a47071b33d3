#!/bin/sh
# diffusers 0.42.1 with peft 0.21.2: a kohya LoRA whose layers have different alphas is loaded at wrong strengths.
#
# kohya's networks/lora.py stores an alpha beside each layer's factors; the layer's change is
# up @ down * alpha / rank. Files with an alpha for each block (kohya's block_alphas, resized LoRAs of
# dynamic rank, merged LoRAs) have alphas that differ. diffusers turns them into peft's alpha_pattern, under names
# that end in `.processor.to_k_lora.down.weight`. No layer is called so: peft ignores the pattern with a warning,
# and these layers are scaled by the first one's alpha. An image is made, with a LoRA of other strengths.
#
# Valid input: linear attention layers under the names that kohya gives a diffusers UNet, rank 4, two files: one
# with the same alpha everywhere (loaded right), one whose alphas are 0.5, 1.0, 1.5, ...
#
# Seen: same alpha: each layer has 1.0 of its change; alphas that differ: 1.0, 0.5, 0.333, 0.25, ... of it.
# Exits with 1 when this changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.11.0 diffusers==0.42.1 peft==0.21.2 transformers==5.24.0 accelerate==1.15.0
"$folder/venv/bin/python" - <<'PY'
import sys
import warnings

import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.lora_pipeline import StableDiffusionLoraLoaderMixin as Loader

RANK = 4


def unet():
    return UNet2DConditionModel(
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=8,
        layers_per_block=1,
        norm_num_groups=8,
    )


def shares(alphas):
    """Of each layer: the share of up @ down * alpha / rank that it has after loading."""
    model = unet()
    layers = [name for name, _ in model.named_modules() if name.endswith(("attn1.to_q", "attn1.to_k"))]
    file, expected = {}, {}
    for number, name in enumerate(layers):
        layer, key, alpha = model.get_submodule(name), "lora_unet_" + name.replace(".", "_"), alphas(number)
        down, up = torch.randn(RANK, layer.in_features), torch.randn(layer.out_features, RANK)
        file[f"{key}.lora_down.weight"], file[f"{key}.lora_up.weight"] = down, up
        file[f"{key}.alpha"] = torch.tensor(alpha)
        expected[name] = up @ down * alpha / RANK
    state, network_alphas = Loader.lora_state_dict(file, unet_config=model.config)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        Loader.load_lora_into_unet(state, network_alphas, model)
    found = {name: model.get_submodule(name).get_delta_weight("default_0") for name in layers}
    ignored = any("alpha_pattern" in str(one.message) for one in said)
    return [round((found[n] / expected[n]).median().item(), 3) for n in layers], ignored


torch.manual_seed(0)
same, _ = shares(lambda number: 2.0)
different, ignored = shares(lambda number: 0.5 * (number + 1))
print("one alpha for all layers:", same)
print("alphas 0.5, 1.0, 1.5 ...:", different, "alpha_pattern ignored" if ignored else "")
count = len(same)
as_described = same == [1.0] * count and different == [round(1 / (n + 1), 3) for n in range(count)] and ignored
sys.exit(0 if as_described else 1)
PY
