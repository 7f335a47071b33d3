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


def test_less_than_half_of_kohyas_are_started():
    """By the second step, when gradients have their places."""
    unet, weights = full_size(), MetaWeights()
    targets = find_targets(unet, LoraConfig(rank=32))
    network = Network(targets, device=passes.META, weights=weights)
    inputs = [passes.drawn(*shape) for shape in full_shapes(128)]
    with Attachment(compact_plan(unet, network, weights)), passes.flash():
        passes.count(lambda: predict(unet, *inputs).sum())
        found = passes.count(lambda: predict(unet, *inputs).sum())
    assert found.kernels <= 0.46 * KOHYA
