import json

import pytest

from pack.replay import metadata_run
from pack.replay.case import Unsupported

ABOUT_THE_PROCESS = {
    "ss_session_id", "ss_training_started_at", "ss_training_finished_at", "modelspec.date",
    "ss_sd_scripts_commit_hash", "modelspec.implementation_version", "ss_sd_model_hash",
    "ss_new_sd_model_hash", "sshs_model_hash", "sshs_legacy_hash", "ss_learning_rate",
    "ss_text_encoder_lr", "ss_cache_latents", "ss_lowram",
}  # fmt: skip


@pytest.fixture
def replayed(golden, tmp_path):
    """Replays the recording after a change to it."""

    def replay(change=lambda recorded: None):
        recorded = json.loads((golden / "metadata_run.json").read_text())
        change(recorded)
        (tmp_path / "metadata_run.json").write_text(json.dumps(recorded))
        return list(metadata_run.cases(tmp_path))

    return replay


def failed(cases):
    return {case.name.removeprefix("metadata_run ") for case in cases if not case.passed}


def test_all_recorded_keys_are_ours_but_for_a_closed_list(replayed):
    cases = replayed()
    assert failed(cases) == set()
    assert len(cases) == 96 - len(ABOUT_THE_PROCESS) + 2
    assert metadata_run.NOT_COMPARED.keys() == ABOUT_THE_PROCESS
    assert all(metadata_run.NOT_COMPARED.values())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ss_seed", "43"),
        ("ss_max_train_steps", "43"),
        ("ss_num_batches_per_epoch", "13"),
        ("ss_network_args", '{"rank_dropout": "0.2", "dropout": null}'),
        ("ss_optimizer", "torch.optim.adamw.AdamW(weight_decay=0.1)"),
        ("ss_dataset_dirs", '{"2_dog": {"n_repeats": 2, "img_count": 2}}'),
        ("ss_fp8_base", "True"),
        ("modelspec.tags", "a"),
    ],
)
def test_a_wrong_value_fails(replayed, key, value):
    cases = replayed(lambda recorded: recorded["metadata_last"].update({key: value}))
    assert failed(cases) == {key}


def test_a_wrong_bucket_tag_or_error_fails(replayed):
    def change(recorded):
        last = recorded["metadata_last"]
        last["ss_bucket_info"] = last["ss_bucket_info"].replace("0.06598639", "0.06598640")
        last["ss_tag_frequency"] = last["ss_tag_frequency"].replace('"bowl": 1', '"bowl": 2')

    assert failed(replayed(change)) == {"ss_bucket_info", "ss_tag_frequency"}


def test_a_key_that_ours_lack_fails(replayed):
    cases = replayed(lambda recorded: recorded["metadata_last"].update(ss_new_key="1"))
    assert failed(cases) == {"keys missing from ours", "ss_new_key"}


def test_wrong_counters_of_a_checkpoint_fail(replayed):
    def change(recorded):
        recorded["metadata_epoch"]["<W>/out/mylora-step00000015.safetensors"]["ss_epoch"] = "0"

    assert failed(replayed(change)) == {"epochs of checkpoints"}


def test_a_run_of_other_options_replays(replayed):
    """Network, optimiser, schedule, loss and captions as kohya would have written them."""

    def change(recorded):
        line = recorded["command_line"]
        gone = (
            "network_args",
            "min_snr_gamma",
            "noise_offset",
            "unet_lr",
            "seed",
            "mixed_precision",
        )
        for name in gone:
            at = line.index(f"--{name}")
            del line[at : at + 2]
        line[line.index("--max_train_epochs") : line.index("--save_every_n_epochs")] = [
            "--max_train_steps", "20", "--gradient_accumulation_steps", "2", "--loss_type", "huber",
            "--optimizer_args", "betas=.9,.99", "weight_decay=0.1", "--mixed_precision", "fp16",
            "--gradient_checkpointing", "--zero_terminal_snr", "--v_parameterization",
        ]  # fmt: skip
        recorded["metadata_epoch"] = {}
        recorded["metadata_last"] |= {
            "ss_min_snr_gamma": "None", "ss_noise_offset": "None", "ss_unet_lr": "None",
            "ss_seed": "2037741291", "ss_max_train_steps": "20", "ss_steps": "20", "ss_epoch": "3",
            "ss_gradient_accumulation_steps": "2", "ss_total_batch_size": "4",
            "ss_loss_type": "huber", "ss_mixed_precision": "fp16", "ss_zero_terminal_snr": "True",
            "ss_gradient_checkpointing": "True", "modelspec.prediction_type": "v",
            "ss_optimizer": "torch.optim.adamw.AdamW(betas=(0.9, 0.99),weight_decay=0.1)",
        }  # fmt: skip
        del recorded["metadata_last"]["ss_network_args"]

    assert failed(replayed(change)) == set()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--dataset_config", "a.toml"], "dataset_config"),
        (["--network_module", "networks.other"], "networks.other"),
    ],
)
def test_what_is_not_built_is_named(replayed, arguments, named):
    with pytest.raises(Unsupported, match=named):
        replayed(lambda recorded: recorded["command_line"].extend(arguments))
