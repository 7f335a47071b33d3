"""The factors of plain LoRAs lie in one buffer from the start, and the optimiser takes it over."""

import pytest
import torch

from pack.tests.trainer.tiny_unet import PlainWeights, make_unet
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.network.adapters import make_adapter
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets
from pack.trainer.optim.optimiser import Optimiser


def made(**settings):
    config = LoraConfig(rank=4, alpha=2.0, **settings)
    targets = find_targets(make_unet(), config)
    return targets, config, Network(targets, seed=3, weights=PlainWeights())


def storages(network):
    return {parameter.untyped_storage()._cdata for parameter in network.parameters()}


def test_the_numbers_are_those_of_each_adapter_alone():
    targets, _, network = made(conv_rank=2)
    for target in targets:
        alone = make_adapter(target, torch.device("cpu"))
        alone.initialise(3)
        factors = network.adapters[target.key].factors()
        assert factors.keys() == alone.factors().keys()
        for name, factor in alone.factors().items():
            assert torch.equal(factors[name], factor)


def test_the_optimiser_takes_the_buffer_over():
    _, config, network = made()
    places = [parameter.data_ptr() for parameter in network.parameters()]
    assert len(storages(network)) == 1
    Optimiser(network.groups(config), OptimiserConfig())
    assert [parameter.data_ptr() for parameter in network.parameters()] == places


@pytest.mark.parametrize(
    "settings", [{"loraplus_ratio": 4.0}, {"block_rates": (0.5,) * 11 + (1.0,) * 12}]
)
def test_groups_of_their_own_have_a_buffer_of_their_own(settings):
    _, config, network = made(**settings)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    old = storages(network)
    Optimiser(network.groups(config), OptimiserConfig())
    assert storages(network) != old
    for parameter, value in zip(network.parameters(), before, strict=True):
        assert torch.equal(parameter, value)
