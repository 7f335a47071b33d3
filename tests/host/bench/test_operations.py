"""Operations that start kernels in forward and backward of full-size SDXL, counted without computing."""

import pytest

from pack.bench import passes
from pack.bench.data.reduced_sdxl import MetaWeights, full_shapes, full_size
from pack.nodes.host.model.unet import predict
from pack.trainer.config.lora import LoraConfig
from pack.trainer.layers.attach import Attachment
from pack.trainer.layers.compact_plan import compact_plan
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets

pytestmark = [pytest.mark.main_host, pytest.mark.slow]

KOHYA = 14_600
"""What kohya's UNet and LoRA network start, counted likewise, with a cast of a factor at every use."""


def operations(network, unet):
    """Of a step whose gradients have a place already, as from the second step on."""
    inputs = [passes._draw(*shape) for shape in full_shapes(128)]
    found = 0
    with Attachment(compact_plan(unet, network, MetaWeights())), passes._flash():
        for _ in range(2):
            found = passes.count(lambda: predict(unet, *inputs).sum()).kernels
    return found


def test_less_than_half_of_kohyas_are_started():
    unet, config = full_size(), LoraConfig(rank=32)
    targets = find_targets(unet, config)
    laid = operations(Network(targets, device=passes.META, weights=MetaWeights()), unet)
    assert laid <= 0.46 * KOHYA
    apart = operations(
        Network(targets, device=passes.META), unet
    )  # every factor has a place of its own
    assert apart > 0.6 * KOHYA
