"""LoRA Settings: what users type becomes the config that Train gets."""

import pytest

from pack.nodes.lora_settings import LoraSettings
from pack.trainer.config.lora import LoraConfig


def config(**typed):
    given = {field.id: field.default for field in LoraSettings.define_schema().inputs}
    return LoraSettings.execute(**{**given, **typed}).args[0]


def test_the_defaults_are_those_of_the_config():
    assert config() == LoraConfig()


def test_numbers_by_block_are_read():
    made = config(
        rank=8,
        block_ranks=",".join(["4"] * 23),
        conv_block_alphas=",".join(["0.5"] * 23),
        down_lr_weight="linear",
        mid_lr_weight="0,1,0",
        block_lr_zero_threshold=0.2,
        module_dropout=0.1,
    )
    assert made.block_ranks == (4,) * 23 and made.conv_block_alphas == (0.5,) * 23
    assert made.block_rates == (
        1.0, 0.0, 0.0, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0, 0.0, 1.0, 0.0, *[1.0] * 10,
    )  # fmt: skip
    assert (made.rank, made.module_dropout) == (8, 0.1)


def test_what_is_no_list_is_refused():
    with pytest.raises(ValueError, match="block_ranks has 2 numbers; SDXL has 23 blocks"):
        config(block_ranks="4,4")
