#!/bin/sh
# lycoris-lora 4.1.3: merging a LoHa or LoKr into a model scales it by alpha / dim twice.
#
# A layer's change is its rebuilt weight times alpha / dim, and so it is trained and used by the forward pass. The
# modules' get_diff_weight and get_merged_weight multiply that, already scaled, by alpha / dim again. merge_to and
# onfly_merge are built on them, so a model with a LoHa merged into it shows less of it than the same model with
# the LoHa attached: a quarter at alpha 1 and dim 4, a sixteenth at dim 16. LoKr does the same unless both of its
# factors are whole matrices; LoCon (LoRA) is merged right, and so is whatever has alpha = dim.
#
# Valid input: one linear layer, a network of each kind with random factors, its own state_dict loaded and merged.
#
# Seen: LoCon 1.0 of the attached network's change at every alpha; LoHa and LoKr alpha / dim of it.
# Exits with 1 when this changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.11.0 lycoris-lora==4.1.3
"$folder/venv/bin/python" - <<'PY'
import copy
import logging
import sys

import torch
from lycoris import create_lycoris, create_lycoris_from_weights

logging.disable(logging.WARNING)
torch.set_grad_enabled(False)
DIM = 4


def changes(algo, alpha):
    """What the layer's outputs change by: with the network attached, and with its file merged."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(96, 64, bias=False))
    into, inputs = copy.deepcopy(model), torch.randn(8, 96)
    before = model(inputs)
    network = create_lycoris(model, 1.0, linear_dim=DIM, linear_alpha=alpha, algo=algo)
    network.apply_to()
    for factor in network.parameters():
        factor += 0.1 * torch.randn_like(factor)
    file = {key: value.clone() for key, value in network.state_dict().items()}
    create_lycoris_from_weights(1.0, "", into, file)[0].merge_to(1.0)
    return model(inputs) - before, into(inputs) - before


as_described = True
for algo in ("locon", "loha", "lokr"):
    for alpha in (1, 2, DIM):
        attached, merged = changes(algo, alpha)
        share = ((merged * attached).sum() / (attached * attached).sum()).item()
        expected = 1.0 if algo == "locon" else alpha / DIM
        as_described &= abs(share - expected) < 1e-3
        as_described &= ((merged - share * attached).norm() / attached.norm()).item() < 1e-3
        print(f"{algo}, alpha {alpha}, dim {DIM}: merged has {share:.3f} of the attached network's change")
sys.exit(0 if as_described else 1)
PY
