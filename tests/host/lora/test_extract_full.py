"""A LoRA from what full fine-tuning made: nearer with every rank, and the report says how near."""

import re

import pytest
import torch

from pack.nodes.host.lora.apply import apply_lora
from pack.tests.host.lora.test_tools import run
from pack.trainer.config.lora import LoraConfig
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets

pytestmark = pytest.mark.main_host


def test_a_difference_is_extracted_at_a_rank_with_its_error(tiny):
    settings = LoraConfig(algorithm="full", parts=("attention", "feed-forward"))
    network = Network(find_targets(tiny.model.model.diffusion_model, settings))
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for adapter in network.adapters.values():
            if adapter.diff.dim() == 2:
                adapter.diff.copy_(0.01 * torch.randn(adapter.diff.shape, generator=draw))
    tuned, _ = apply_lora(tiny.model, None, network.state_dict(), 1.0)
    errors = []
    for rank in (2, 16):
        lora, report = run(
            "ExtractLora", base=tiny.model, tuned=tuned, rank=rank, energy=1.0, conv_rank=0
        )
        errors.append(float(re.search(r"([\d.]+) ?%", report)[1]))
        assert any(key.endswith("lora_up.weight") for key in lora)
    assert errors[0] > errors[1] > 0, report
