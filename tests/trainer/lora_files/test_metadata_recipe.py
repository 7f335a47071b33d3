import dataclasses
import json

import pytest

from pack.tests.trainer.golden_run import make_cached, make_config, make_facts
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.lora_files.metadata import describe

CONFIG, CACHED, FACTS = make_config(), make_cached(), make_facts()


def test_a_range_of_timesteps_and_an_adafactor_without_a_rate():
    loss = LossConfig(min_timestep=100, max_timestep=600)
    optimiser = OptimiserConfig(type="Adafactor", learning_rate=1e-3)
    written = describe(dataclasses.replace(CONFIG, loss=loss, optimiser=optimiser), CACHED, FACTS)
    assert written["modelspec.timestep_range"] == "100,600"
    assert written["ss_lr_scheduler"] == "adafactor:0.001"
    assert written["ss_unet_lr"] == "None"
    warm = OptimiserConfig(schedule="constant", warmup=10)
    written = describe(dataclasses.replace(CONFIG, optimiser=warm), CACHED, FACTS)
    assert written["ss_lr_scheduler"] == "constant_with_warmup"


LYCORIS = {
    "loha": ({"algorithm": "loha", "rank_stabilised": True}, {"algo": "loha", "rs_lora": "True"}),
    "lokr": ({"algorithm": "lokr"}, {"algo": "lokr", "factor": "-1"}),
    "lokr 8": (
        {"algorithm": "lokr", "lokr_factor": 8, "conv_rank": 4},
        {"algo": "lokr", "factor": "8", "conv_dim": "4", "conv_alpha": "1.0"},
    ),
    "lokr whole": (
        {"algorithm": "lokr", "full_matrix": True},
        {"algo": "lokr", "factor": "-1", "full_matrix": "True"},
    ),
    "dora": ({"dora": True}, {"algo": "lora", "dora_wd": "True", "wd_on_output": "False"}),
}


@pytest.mark.parametrize("kind", LYCORIS)
def test_other_kinds_say_what_lycoris_says(kind):
    settings, arguments = LYCORIS[kind]
    written = describe(dataclasses.replace(CONFIG, lora=LoraConfig(**settings)), CACHED, FACTS)
    assert written["ss_network_module"] == "lycoris.kohya"
    assert json.loads(written["ss_network_args"]) == {**arguments, "dropout": None}


def test_network_arguments_have_kohyas_names():
    rates = (1.0, *[0.5] * 9, 1.0, 0.0, 1.0, *[2.0] * 9, 1.0)
    lora = LoraConfig(
        dropout=0.1,
        rank_dropout=0.2,
        module_dropout=0.3,
        loraplus_ratio=16,
        max_norm=1,
        block_ranks=tuple(range(1, 24)),
        block_alphas=(1.0,) * 23,
        block_rates=rates,
    )
    written = describe(dataclasses.replace(CONFIG, lora=lora), CACHED, FACTS)
    assert json.loads(written["ss_network_args"]) == {
        "rank_dropout": "0.2",
        "module_dropout": "0.3",
        "loraplus_lr_ratio": "16.0",
        "block_dims": ",".join(map(str, range(1, 24))),
        "block_alphas": ",".join(["1.0"] * 23),
        "down_lr_weight": ",".join(["0.5"] * 9),
        "mid_lr_weight": "1.0,0.0,1.0",
        "up_lr_weight": ",".join(["2.0"] * 9),
        "dropout": 0.1,
    }
    assert written["ss_network_dropout"] == "0.1"
    assert written["ss_scale_weight_norms"] == "1.0"


@pytest.mark.parametrize(
    ("rates", "text", "unet"),
    [
        ({}, "None", "3e-05"),
        ({"text_encoder_1_rate": 1e-5, "text_encoder_2_rate": 1e-5}, "1e-05", "3e-05"),
        ({"text_encoder_1_rate": 1e-5, "train_unet": False}, "[1e-05, 0.0]", "None"),
    ],
)
def test_the_rates_of_text_encoders_and_unet(rates, text, unet):
    written = describe(TrainConfig(optimiser=OptimiserConfig(**rates)), CACHED, FACTS)
    assert (written["ss_text_encoder_lr"], written["ss_unet_lr"]) == (text, unet)
