#!/bin/sh
# peft 0.21.2: add_weighted_adapter with combination_type "linear" does not give the weighted sum of two LoRAs.
#
# The call's weights suggest weight_a * change_a + weight_b * change_b. peft adds the factors themselves, each
# scaled by the root of its weight, and multiplies the sums: products of one LoRA's down with the other's up come
# in. A LoRA merged with itself at 0.5 + 0.5 has twice its change instead of once; two unrelated LoRAs at
# 0.5 + 0.5 are about 100 % away from their weighted sum. "cat" is exact; "svd" at the same rank is as near as
# that rank allows.
#
# Valid input: two LoRAs of rank 4 on one linear layer, weights 0.5 and 0.5.
#
# Seen: linear: itself 2.0 times, the other 1.0 of the sum's norm away; cat: 0.0 away.
# Exits with 1 when this changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.11.0 peft==0.21.2 transformers==5.24.0 accelerate==1.15.0
"$folder/venv/bin/python" - <<'PY'
import sys

import torch
from peft import LoraConfig, get_peft_model


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.q = torch.nn.Linear(64, 64, bias=False)


torch.manual_seed(0)
config = LoraConfig(r=4, lora_alpha=4, target_modules=["q"], init_lora_weights=False)
model = get_peft_model(Layer(), config, adapter_name="first")
model.add_adapter("second", config)
layer = model.base_model.model.q
first, second = layer.get_delta_weight("first"), layer.get_delta_weight("second")


def merged(name, others, way):
    model.add_weighted_adapter(others, [0.5, 0.5], name, combination_type=way)
    return layer.get_delta_weight(name)


def away(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


itself = (merged("itself", ["first", "first"], "linear") / first).median().item()
linear = away(merged("linear", ["first", "second"], "linear"), (first + second) / 2)
exact = away(merged("cat", ["first", "second"], "cat"), (first + second) / 2)
print(f"linear, with itself: {itself:.3f} times; with another: {linear:.2f} away from the sum; cat: {exact:.1e}")
sys.exit(0 if abs(itself - 2) < 1e-3 and 0.7 < linear < 1.4 and exact < 1e-5 else 1)
PY
