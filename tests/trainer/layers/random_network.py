"""Adapters that are in use from the beginning."""

import torch

from pack.tests.trainer.tiny_unet import PlainWeights
from pack.trainer.config.lora import LoraConfig
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets

PLAIN = LoraConfig(rank=4, alpha=2.0)


def make_network(unet, config):
    """Adapters with random factors, so that every factor gets a gradient."""
    network = Network(find_targets(unet, config), seed=3, weights=PlainWeights())
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))
    return network
