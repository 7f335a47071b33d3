"""A tiny UNet, and adapters for it whose factors are all in use."""

import pytest

from pack.tests.trainer.layers.random_network import PLAIN, make_network
from pack.tests.trainer.tiny_unet import make_unet


@pytest.fixture
def unet():
    return make_unet()


@pytest.fixture
def network(unet):
    return make_network(unet, PLAIN)
