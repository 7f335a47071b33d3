"""A VAE of TAESD's layout whose weights are set by hand, so that colours survive a round trip.

The encoder averages 8×8 pixels, the decoder spreads the average again. Latents leave with the
spread that real SDXL latents have, so that after the 0.13025 of SDXL they are about unit normal.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SDXL_SCALE = 0.13025
WIDTH = 64
SMALL = 0.2  # the decoder bends large values (tanh); small ones pass unbent
SPREAD = 4.0  # photographs spread by about a quarter around grey


def state_dict(spread: float = SPREAD) -> dict[str, Tensor]:
    """All weights under the keys that a single-file checkpoint uses."""
    import comfy.taesd.taesd

    model = comfy.taesd.taesd.TAESD().float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        _set_encoder(model.taesd_encoder)
        _set_decoder(model.taesd_decoder)
        model.vae_scale.fill_(SMALL * SDXL_SCALE / spread)
    return {f"first_stage_model.{key}": value for key, value in model.state_dict().items()}


def _set_encoder(encoder: nn.Sequential) -> None:
    convs = [layer for layer in encoder if isinstance(layer, nn.Conv2d)]
    for channel in range(3):
        convs[0].weight[channel, channel, 1, 1] = 1
    for conv in convs[1:-1]:
        for channel in range(WIDTH):  # stride 2: rows 1 and 2 of the kernel are the 2×2 square
            conv.weight[channel, channel, 1:, 1:] = 0.25
    last = convs[-1]
    for channel in range(3):
        last.weight[channel, channel, 1, 1] = SMALL
        last.weight[3, channel, 1, 1] = SMALL / 3  # the fourth channel is the brightness
    assert last.bias is not None
    last.bias.fill_(-SMALL / 2)


def _set_decoder(decoder: nn.Sequential) -> None:
    convs = [layer for layer in decoder if isinstance(layer, nn.Conv2d)]
    for channel in range(3):  # a pair carries the sign through the ReLUs
        convs[0].weight[2 * channel, channel, 1, 1] = 1
        convs[0].weight[2 * channel + 1, channel, 1, 1] = -1
        convs[-1].weight[channel, 2 * channel, 1, 1] = 1 / SMALL
        convs[-1].weight[channel, 2 * channel + 1, 1, 1] = -1 / SMALL
    for conv in convs[1:-1]:
        for channel in range(WIDTH):
            conv.weight[channel, channel, 1, 1] = 1
    bias = convs[-1].bias
    assert bias is not None
    bias.fill_(0.5)
