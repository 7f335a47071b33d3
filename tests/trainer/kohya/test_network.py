"""kohya's own LoHa, LoKr and OFT, and what LyCORIS' presets and OFT mean, as settings of the LoRA."""

import pytest

from pack.tests.trainer.kohya.test_config import imported
from pack.trainer.config.lora import LoraConfig

LYCORIS = 'network_module = "lycoris.kohya"\nnetwork_dim = 8\nnetwork_alpha = 4\n'


def network(module, *given, more=""):
    arguments = ", ".join(f'"{one}"' for one in given)
    lines = f'network_module = "networks.{module}"\nnetwork_dim = 8\nnetwork_alpha = 4\n{more}\n'
    return imported(f"{lines}network_args = [{arguments}]")


def preset(name, more=""):
    return imported(f'{LYCORIS}network_args = ["preset={name}"]\n{more}').train


@pytest.mark.parametrize("kind", ["loha", "lokr"])
def test_loha_and_lokr_have_the_layers_of_a_lora(kind):
    assert network(kind).train.lora == LoraConfig(8, 4.0, algorithm=kind)
    lora = network(kind, "conv_dim=2", "conv_alpha=1", "rank_dropout=0.1").train.lora
    assert lora == LoraConfig(8, 4.0, 2, 1.0, algorithm=kind, rank_dropout=0.1)
    assert network(kind, "loraplus_lr_ratio=4").train.lora.loraplus_ratio == 4.0


def test_only_lokr_has_a_factor_and_whole_matrices():
    lora = network("lokr", "factor=8").train.lora
    assert lora == LoraConfig(8, 4.0, algorithm="lokr", lokr_factor=8)
    assert (
        "network_args factor: networks.loha takes no notice" in network("loha", "factor=8").report
    )
    found = imported('network_module = "networks.lokr"\nnetwork_dim = 10000').train.lora
    assert (found.rank, found.full_matrix) == (10000, False)


@pytest.mark.parametrize("kind", ["loha", "lokr", "oft"])
def test_dropout_of_neurons_has_no_effect_there_and_is_reported(kind):
    found = network(kind, more="network_dropout = 0.1")
    assert found.train.lora.dropout == 0.0
    assert f"network_dropout: networks.{kind} takes no notice of it" in found.report


@pytest.mark.parametrize(
    "given", ["use_tucker=True", "exclude_patterns=['.*ff.*']", "network_reg_lrs=.*=1e-4"]
)
def test_what_kohyas_own_kinds_can_and_we_cannot_is_refused(given):
    name = given.partition("=")[0]
    with pytest.raises(ValueError, match=f"network_args {name}=.*write {name}=False or remove it"):
        network("lokr", given)
    assert f"network_args {name}: False changes nothing" in network("lokr", f"{name}=False").report


TEXT = "network_train_unet_only = false"


def test_kohyas_oft_counts_blocks_and_trains_attention_of_the_unet():
    train = network("oft", more=TEXT).train
    own = {"algorithm": "oft", "oft_blocks": 8, "oft_constraint": 4.0}
    assert train.lora == LoraConfig(8, 4.0, layers="attention", **own)
    assert not train.optimiser.trains_text
    lora = network("oft", "enable_all_linear=True", "enable_conv=True").train.lora
    assert lora == LoraConfig(8, 4.0, 8, **own)
    with pytest.raises(ValueError, match=r"network_alpha is 0, which lets .* turn nothing"):
        imported('network_module = "networks.oft"\nnetwork_alpha = 0')


def test_a_switch_of_kohyas_oft_that_is_off_is_off():
    found = network("oft", "enable_all_linear=False")
    assert found.train.lora.layers == "attention"
    assert "enable_all_linear=False is off; kohya takes any text" in found.report.split("Unlike")[1]


@pytest.mark.parametrize(("algo", "ours"), [("diag-oft", "oft"), ("boft", "boft")])
def test_oft_and_boft_of_lycoris(algo, ours):
    lines = f'{LYCORIS}network_args = ["algo={algo}", "preset=attn-mlp"'
    lora = imported(f"{lines}]").train.lora
    assert lora == LoraConfig(8, 4.0, conv_alpha=4.0, algorithm=ours)
    assert imported(f'{lines}, "constrain=0.5"]').train.lora.oft_constraint == 0.5
    with pytest.raises(ValueError, match="rescaled=True: ComfyUI takes no notice"):
        imported(f'{lines}, "rescaled=True"]')


def test_a_constraint_means_nothing_to_other_algorithms():
    found = imported(f'{LYCORIS}network_args = ["algo=loha", "constraint=0.5"]')
    assert found.train.lora.oft_constraint == 0.0
    assert "network_args constraint: lycoris.kohya takes no notice of it" in found.report


@pytest.mark.parametrize(
    ("name", "layers", "conv_rank", "text"),
    [
        ("full", "standard", 8, True),
        ("full-lin", "linear", 0, True),
        ("attn-mlp", "standard", 0, True),
        ("attn-only", "attention", 0, True),
        ("unet-only", "standard", 8, False),
        ("unet-transformer-only", "standard", 0, False),
        ("unet-convblock-only", "resnets", 8, False),
    ],
)
def test_presets_of_lycoris(name, layers, conv_rank, text):
    train = preset(name, TEXT)
    assert (train.lora.layers, train.lora.conv_rank) == (layers, conv_rank)
    assert train.optimiser.trains_text is text
