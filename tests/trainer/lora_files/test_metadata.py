import dataclasses
import json

import pytest

from pack.tests.trainer.golden_run import FOLDERS, make_cached, make_config, make_facts
from pack.trainer.config.cache import AS_PROMPTS
from pack.trainer.config.captions import CaptionConfig
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.config.validation import ValidationConfig
from pack.trainer.dataset.dataset import Dataset
from pack.trainer.lora_files.metadata import PRIVATE_KEYS, ModelFile, describe, without_private
from pack.trainer.sdxl.buckets import BucketConfig

OURS = {"lora_loop.version", "lora_loop.config", "modelspec.trigger_phrase"}
"""Keys of our own; modelspec's is of the standard, kohya does not write it."""


@pytest.fixture
def recorded(golden):
    return json.loads((golden / "metadata_run.json").read_text())["metadata_last"]


@pytest.fixture
def config():
    return make_config()


@pytest.fixture
def cached():
    return make_cached()


@pytest.fixture
def facts():
    return make_facts()


def test_every_key_is_kohyas_or_named_as_ours(config, cached, facts, recorded):
    written = describe(config, cached, facts)
    assert written.keys() - recorded.keys() == OURS
    assert all(type(value) is str for value in written.values())


def test_the_keys_that_loaders_and_trainers_look_at_are_there(config, cached, facts):
    written = describe(config, cached, facts)
    assert written.keys() >= {
        "ss_base_model_version", "ss_v2", "ss_network_module", "ss_network_dim", "ss_network_alpha",
        "ss_tag_frequency", "ss_dataset_dirs", "ss_reg_dataset_dirs", "ss_bucket_info", "ss_steps",
        "ss_epoch", "ss_seed", "ss_learning_rate", "ss_unet_lr", "ss_optimizer", "ss_lr_scheduler",
        "ss_resolution", "ss_num_train_images", "ss_num_reg_images", "ss_min_snr_gamma",
        "ss_noise_offset", "ss_training_started_at", "ss_training_finished_at",
        "modelspec.sai_model_spec", "modelspec.architecture", "modelspec.implementation",
        "modelspec.date", "modelspec.resolution", "modelspec.prediction_type",
    }  # fmt: skip


def test_values_of_other_kinds_of_run(config, cached, facts):
    config = TrainConfig(
        accumulation=4,
        lora=LoraConfig(rank=8, alpha=4, conv_rank=3, conv_alpha=1),
        optimiser=OptimiserConfig(warmup=0.05, weight_decay=0.1, beta2=0.99),
        loss=LossConfig(debiased=True),
    )
    facts = dataclasses.replace(facts, prediction="v", zero_terminal_snr=True, trigger="")
    written = describe(config, cached, facts)
    arguments = json.loads(written["ss_network_args"])
    assert arguments == {"conv_dim": "3", "conv_alpha": "1.0", "dropout": None}
    assert written["ss_total_batch_size"] == "8"
    assert written["ss_gradient_accumulation_steps"] == "4"
    assert written["ss_lr_warmup_steps"] == "0.05"
    assert written["ss_optimizer"] == (
        "torch.optim.adamw.AdamW(betas=(0.9, 0.99),weight_decay=0.1)"
    )
    assert written["ss_debiased_estimation"] == "True"
    assert written["ss_min_snr_gamma"] == written["ss_noise_offset"] == "None"
    assert written["modelspec.prediction_type"] == "v"
    assert written["ss_zero_terminal_snr"] == "True"
    assert "modelspec.trigger_phrase" not in written


def test_captions_as_they_are_shown(cached, facts):
    captions = CaptionConfig(True, 2, tag_dropout=0.1, dropout=0.2, dropout_every_n_epochs=3)
    prompts = dataclasses.replace(cached, texts=AS_PROMPTS)
    written = describe(TrainConfig(captions=captions), prompts, facts)
    names = ("shuffle_caption", "keep_tokens", "caption_dropout_rate", "caption_tag_dropout_rate")
    more = ("caption_dropout_every_n_epochs", "max_token_length")
    values = [written[f"ss_{name}"] for name in (*names, *more)]
    assert values == ["True", "2", "0.2", "0.1", "3", "None"]


def test_folders_of_one_name_are_counted_together(config, cached, facts):
    first = cached.dataset.subsets[0]
    twice = Dataset((first, dataclasses.replace(first, repeats=1)))
    written = describe(config, dataclasses.replace(cached, dataset=twice), facts)
    (folder,) = json.loads(written["ss_dataset_dirs"]).values()
    assert folder["img_count"] == 2 * len(first.samples)


def test_buckets_are_counted_as_shown_in_the_first_epoch(config, cached, facts):
    """13 samples of training images, so the two regularisation images come 7 and 6 times."""
    info = json.loads(describe(config, cached, facts)["ss_bucket_info"])
    assert info["buckets"] == {
        "0": {"resolution": [128, 128], "count": 2 + 3 + 7},
        "1": {"resolution": [160, 96], "count": 2 + 3 + 3 + 6},
    }
    assert info["mean_img_ar_error"] == pytest.approx(4 / 7 * (160 / 96 - 1))


def test_without_buckets_none_are_described(config, cached, facts):
    plain = dataclasses.replace(cached.recipe, buckets=BucketConfig((128, 128), enabled=False))
    written = describe(config, dataclasses.replace(cached, recipe=plain), facts)
    assert written["ss_bucket_info"] == "null"
    assert written["ss_min_bucket_reso"] == written["ss_max_bucket_reso"] == "None"


def test_the_weight_of_regularisation_pictures_is_the_prior_loss_weight(config, cached, facts):
    items = [dataclasses.replace(i, weight=0.3 if i.is_reg else 1.0) for i in cached.items]
    written = describe(config, dataclasses.replace(cached, items=tuple(items)), facts)
    assert written["ss_prior_loss_weight"] == "0.3"
    mixed = (*items[:-1], dataclasses.replace(items[-1], weight=0.5))
    written = describe(config, dataclasses.replace(cached, items=mixed), facts)
    assert written["ss_prior_loss_weight"] == "1.0"


def test_subsets_with_options_of_their_own_are_described_one_by_one(config, cached, facts):
    assert "ss_datasets" not in describe(config, cached, facts)
    first, *rest = cached.dataset.subsets
    own = dataclasses.replace(first, flip=False, captions=CaptionConfig(True, 1, "|||"))
    recipe = dataclasses.replace(cached.recipe, more_buckets=(cached.recipe.buckets.at(64),))
    several = dataclasses.replace(cached, dataset=Dataset((own, *rest)), recipe=recipe)
    large, small = json.loads(describe(config, several, facts)["ss_datasets"])
    assert (large["resolution"], small["resolution"]) == ([128, 128], [64, 64])
    assert large["subsets"] == small["subsets"]
    dog, cat, animal = large["subsets"]
    assert (dog["flip_aug"], cat["flip_aug"]) == (False, True)
    assert (dog["shuffle_caption"], dog["keep_tokens"], dog["keep_tokens_separator"]) == (
        True,
        1,
        "|||",
    )
    assert (cat["shuffle_caption"], cat["caption_prefix"]) == (False, None)
    assert (cat["image_dir"], cat["num_repeats"], cat["img_count"]) == ("3_sks cat", 3, 3)
    assert [s["is_reg"] for s in (dog, cat, animal)] == [False, False, True]


def test_the_base_model_and_how_it_was_computed(config, cached, facts):
    model = ModelFile("base.safetensors", "ab" * 32, "0123abcd")
    facts = dataclasses.replace(facts, model=model, precision="bf16", fp8=True, session=7)
    written = describe(dataclasses.replace(config, checkpointing="full"), cached, facts)
    names = ("sd_model_name", "sd_model_hash", "new_sd_model_hash", "mixed_precision", "fp8_base")
    more = ("gradient_checkpointing", "session_id")
    values = [written[f"ss_{name}"] for name in (*names, *more)]
    assert values == ["base.safetensors", "0123abcd", "ab" * 32, "bf16", "True", "True", "7"]
    assert "base.safetensors" not in json.dumps(without_private(written))


@pytest.mark.parametrize(
    ("held_out", "count", "split"), [(0.1, None, "0.1"), (3.0, "3", "0.0"), (0.0, "0", "0.0")]
)
def test_what_is_held_out(config, cached, facts, held_out, count, split):
    validation = ValidationConfig(held_out=held_out, every=50, seed=7)
    written = describe(dataclasses.replace(config, validation=validation), cached, facts)
    assert written.get("ss_num_validation_images") == count
    assert written["ss_validation_split"] == split
    is_on = held_out > 0
    assert written["ss_validation_seed"] == ("7" if is_on else "None")
    assert written["ss_validate_every_n_steps"] == ("50" if is_on else "None")
    assert written["ss_max_validation_steps"] == "None"


def test_the_config_can_be_read_back(config, cached, facts):
    written = describe(config, cached, facts)
    assert json.loads(written["lora_loop.config"]) == json.loads(json.dumps(config.to_dict()))
    assert written["modelspec.trigger_phrase"] == "sks"
    assert written["modelspec.date"] == "2026-11-22T12:33:45"


def test_without_private_keys_no_folder_file_or_tag_is_left(config, cached, facts):
    written = without_private(describe(config, cached, facts))
    assert not set(PRIVATE_KEYS) & written.keys()
    text = json.dumps(written)
    for word in (*FOLDERS, "bowl", "running", ".png"):
        assert word not in text
    assert written["ss_network_dim"] == "8"
