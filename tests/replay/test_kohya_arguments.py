"""Recorded arguments reach the importer as a config.toml would have them, and its faults are seen."""

import pytest

from pack.replay import losses, metadata_run
from pack.replay.case import Case, Unsupported
from pack.replay.kohya_arguments import from_words, import_part, network_arguments
from pack.trainer.kohya import arguments


def test_words_become_what_a_config_holds():
    words = [
        "--flip_aug", "--network_dim", "8", "--network_alpha", "4", "--lr_warmup_steps", "0.1",
        "--lr_decay_steps", "25%", "--text_encoder_lr", "1e-5", "2e-5", "--resolution", "128,64",
        "--network_args", "conv_dim=4", "rank_dropout=0.1", "--output_name", "12", "--sdpa",
        "--max_data_loader_n_workers", "0", "--optimizer_args", "--seed", "1", "--seed", "-2",
    ]  # fmt: skip
    assert from_words(words) == {
        "flip_aug": True, "network_dim": 8, "network_alpha": 4.0, "lr_warmup_steps": 0.1,
        "lr_decay_steps": "25%", "text_encoder_lr": [1e-5, 2e-5], "resolution": "128,64",
        "network_args": ["conv_dim=4", "rank_dropout=0.1"], "output_name": "12", "sdpa": True,
        "max_data_loader_n_workers": "0", "optimizer_args": [], "seed": -2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["8"], "8 stands before any argument"),
        (["--network_dim", "many"], "--network_dim many: a whole number is expected"),
        (["--network_dim", "8", "9"], "--network_dim 8 9"),
        (["--learning_rate"], "--learning_rate : a number is expected"),
    ],
)
def test_words_that_are_no_value_are_named(words, named):
    with pytest.raises(Unsupported, match=named):
        from_words(words)


def test_texts_pass_through_toml_as_they_are():
    text = 'a "b"\\n\n\té 猫 😀'
    assert import_part({"caption_prefix": text}, "x").train.captions.prefix == text


def test_what_is_off_and_unknown_is_left_out_and_the_rest_named():
    given = {"network_dim": 6, "seed": None, "edm2": False}
    assert import_part(given, "x").train.lora.rank == 6
    with pytest.raises(Unsupported, match="edm2 is no argument"):
        import_part({"edm2": True}, "x")
    with pytest.raises(Unsupported, match=r"x: sample_prompts a\.txt is not recorded"):
        import_part({"sample_prompts": "a.txt"}, "x")


@pytest.mark.parametrize("given", [["rank_dropout=0.1"], {"rank_dropout": "0.1"}])
def test_a_recorded_network_is_that_of_a_config(given):
    network = {"network_dim": 6, "conv_dim": 3, "conv_alpha": None, "network_args": given}
    lora = import_part(network_arguments({**network, "module_count": 1}), "x").train.lora
    assert (lora.rank, lora.conv_rank, lora.conv_alpha, lora.rank_dropout) == (6, 3, 1.0, 0.1)


FAULTS = {
    "min_snr_gamma": ("loss.huber_c", losses, "losses/--min_snr_gamma 5"),
    "v_parameterization": ("files.bare", losses, "losses/--v_parameterization"),
    "noise_offset": ("loss.ip_noise_gamma", metadata_run, "metadata_run ss_noise_offset"),
    "network_dim": ("lora.conv_rank", metadata_run, "metadata_run ss_network_dim"),
    "lr_warmup_steps": ("optimiser.decay_steps", metadata_run, "metadata_run ss_lr_warmup_steps"),
}
"""An argument, the wrong field for it, and a recorded case of a part that then fails."""


@pytest.mark.parametrize("argument", FAULTS)
def test_an_argument_that_sets_the_wrong_field_fails(golden, monkeypatch, argument):
    field, part, name = FAULTS[argument]
    key = arguments.HONOURED[argument]
    monkeypatch.setitem(arguments.HONOURED, argument, key._replace(sets=field))
    assert name in {c.name for c in part.cases(golden) if isinstance(c, Case) and not c.passed}
