import json

import pytest

from pack.tests.trainer.lora_tools.loras import CONV, Q, lora
from pack.trainer.lora_tools.factors import read_factors
from pack.trainer.lora_tools.metadata import MADE, merged, retold

TRAINED = {
    "ss_network_dim": "4", "ss_network_alpha": "2.0", "ss_learning_rate": "3e-05",
    "ss_network_args": json.dumps({"conv_dim": 4, "block_dims": "1", "dropout": 0.1}),
    "ss_base_model_version": "sdxl_base_v1-0", "ss_sd_model_name": "a.safetensors",
    "sshs_model_hash": "0", "modelspec.trigger_phrase": "zorp", "workflow": "{}",
    "lora_loop.recommended_strength": "1", "modelspec.usage_hint": "strength 1",
}  # fmt: skip


def test_ranks_and_alphas_are_those_of_the_layers_and_the_training_stays():
    layers = read_factors(lora(rank=2, alpha=1.0))
    found = retold(TRAINED, "resized", layers)
    assert (found["ss_network_dim"], found["ss_network_alpha"]) == ("2", "1")
    assert json.loads(found["ss_network_args"]) == {
        "dropout": 0.1,
        "conv_dim": "2",
        "conv_alpha": "1",
    }
    assert found["ss_learning_rate"] == "3e-05" and found[MADE] == "resized"
    assert not {"sshs_model_hash", "workflow"} & found.keys()
    assert not {"lora_loop.recommended_strength", "modelspec.usage_hint"} & found.keys()
    assert retold(found, "scaled")[MADE] == "resized\nscaled"
    assert retold(found, "scaled")["ss_network_dim"] == "2"


@pytest.mark.parametrize("arguments", ["no json", "[1]", "[" * 100_000])
def test_layers_of_several_ranks_are_dynamic_whatever_the_arguments_were(arguments):
    layers = read_factors(lora(rank=2, stems=(Q,))) | read_factors(lora(rank=3, stems=(CONV,)))
    layers["other"] = read_factors(lora(rank=5, stems=(Q,)))[Q]
    found = retold({"ss_network_args": arguments}, "x", layers)
    assert found["ss_network_dim"] == "Dynamic"
    assert json.loads(found["ss_network_args"])["conv_dim"] == "3"


def test_a_sum_says_what_all_agree_about():
    other = TRAINED | {"ss_sd_model_name": "b.safetensors", "modelspec.trigger_phrase": "blip"}
    found = merged(
        [TRAINED, other, {"ss_base_model_version": "sdxl_base_v1-0"}], read_factors(lora()), "m"
    )
    assert found["modelspec.trigger_phrase"] == "zorp, blip"
    assert found["ss_base_model_version"] == "sdxl_base_v1-0"
    assert not {"ss_sd_model_name", "ss_learning_rate"} & found.keys()
    assert found["ss_network_dim"] == "4" and found[MADE] == "m"
