import dataclasses
import json
from pathlib import Path

import pytest

from pack.trainer.buckets import BucketSettings, SizeConditioning
from pack.trainer.cache import CachedDataset, CachedItem, LatentRecipe
from pack.trainer.caption_rules import CaptionOptions
from pack.trainer.config import LoraConfig, LossConfig, OptimiserConfig, TrainConfig
from pack.trainer.dataset import Dataset, FileStamp, Sample, Subset
from pack.trainer.metadata import (
    PRIVATE_KEYS,
    ModelFile,
    RunFacts,
    describe,
    without_private,
)
from pack.trainer.texts import AS_PROMPTS, TextRecipe
from pack.trainer.validation_config import ValidationConfig

FOLDERS = {
    "2_dog": ("dog", 2, False, ["dog, bowl", "dog"]),
    "3_sks cat": ("sks cat", 3, False, ["a cat, sitting, day", "a cat, running, night, moon", "sks cat"]),
    "1_animal": ("animal", 1, True, ["animal", "animal"]),
}  # fmt: skip
"""The folders of the golden run: class tokens, repeats, whether regularisation, captions."""

OURS = {"lora_loop.version", "lora_loop.config", "modelspec.trigger_phrase"}
"""Keys of our own; modelspec's is of the standard, kohya does not write it."""


@pytest.fixture
def recorded(golden):
    return json.loads((golden / "metadata_run.json").read_text())["metadata_last"]


@pytest.fixture
def config():
    """The recipe of the golden run."""
    return TrainConfig(
        steps=42,
        batch_size=2,
        seed=42,
        lora=LoraConfig(rank=8, alpha=4, rank_dropout=0.1),
        optimiser=OptimiserConfig(learning_rate=2e-4, schedule="cosine", warmup=2),
        loss=LossConfig(min_snr_gamma=5, noise_offset=0.05),
    )


@pytest.fixture
def cached():
    subsets, items = [], []
    for name, (tokens, repeats, is_reg, captions) in FOLDERS.items():
        samples = []
        for number, caption in enumerate(captions):
            path = Path(name) / f"{number}.png"
            digest = f"{name}{number}"
            samples.append(
                Sample(path, (128, 128), FileStamp(1, 1), digest, caption, path.with_suffix(".txt"))
            )
            bucket = (160, 96) if number else (128, 128)
            size = SizeConditioning((128, 128), (0, 0), (128, 128))
            items.append(
                CachedItem(digest, digest, caption, bucket, size, size, digest, f"f{digest}",
                           repeats, 1.0, is_reg, name)
            )  # fmt: skip
        subsets.append(Subset(name, Path(name), tokens, repeats, is_reg, tuple(samples)))
    buckets = BucketSettings((128, 128), min_reso=64, max_reso=256, step=32)
    recipe = LatentRecipe(buckets, "vae", flip=True)
    dataset, texts = Dataset(tuple(subsets)), TextRecipe("kohya 225")
    return CachedDataset(tuple(items), Path("store"), recipe, dataset, "clip", texts)


@pytest.fixture
def facts():
    return RunFacts(
        steps=42,
        epochs=3,
        batches_per_epoch=14,
        started=1795350815.3084996,
        finished=1795350825.5552328,
        prediction="epsilon",
        zero_terminal_snr=False,
        trigger="sks",
    )


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
    captions = CaptionOptions(True, 2, tag_dropout=0.1, dropout=0.2, dropout_every_n_epochs=3)
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
    """13 showings of training pictures, so the two regularisation pictures come 7 and 6 times."""
    info = json.loads(describe(config, cached, facts)["ss_bucket_info"])
    assert info["buckets"] == {
        "0": {"resolution": [128, 128], "count": 2 + 3 + 7},
        "1": {"resolution": [160, 96], "count": 2 + 3 + 3 + 6},
    }
    assert info["mean_img_ar_error"] == pytest.approx(4 / 7 * (160 / 96 - 1))


def test_without_buckets_none_are_described(config, cached, facts):
    plain = dataclasses.replace(cached.recipe, buckets=BucketSettings((128, 128), enabled=False))
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
    own = dataclasses.replace(first, flip=False, captions=CaptionOptions(True, 1, "|||"))
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


def test_a_range_of_timesteps_and_an_adafactor_without_a_rate(config, cached, facts):
    loss = LossConfig(min_timestep=100, max_timestep=600)
    optimiser = OptimiserConfig(type="Adafactor", learning_rate=1e-3)
    written = describe(dataclasses.replace(config, loss=loss, optimiser=optimiser), cached, facts)
    assert written["modelspec.timestep_range"] == "100,600"
    assert written["ss_lr_scheduler"] == "adafactor:0.001"
    assert written["ss_unet_lr"] == "None"
    warm = OptimiserConfig(schedule="constant", warmup=10)
    written = describe(dataclasses.replace(config, optimiser=warm), cached, facts)
    assert written["ss_lr_scheduler"] == "constant_with_warmup"


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


LYCORIS = {
    "loha": ({"algorithm": "loha", "rank_stabilised": True}, {"algo": "loha", "rs_lora": "True"}),
    "lokr": ({"algorithm": "lokr"}, {"algo": "lokr", "factor": "-1"}),
    "lokr 8": (
        {"algorithm": "lokr", "lokr_factor": 8, "conv_rank": 4},
        {"algo": "lokr", "factor": "8", "conv_dim": "4", "conv_alpha": "1.0"},
    ),
    "dora": ({"dora": True}, {"algo": "lora", "dora_wd": "True", "wd_on_output": "False"}),
}


@pytest.mark.parametrize("kind", LYCORIS)
def test_other_kinds_say_what_lycoris_says(config, cached, facts, kind):
    settings, arguments = LYCORIS[kind]
    written = describe(dataclasses.replace(config, lora=LoraConfig(**settings)), cached, facts)
    assert written["ss_network_module"] == "lycoris.kohya"
    assert json.loads(written["ss_network_args"]) == {**arguments, "dropout": None}


def test_network_arguments_have_kohyas_names(config, cached, facts):
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
    written = describe(dataclasses.replace(config, lora=lora), cached, facts)
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
def test_the_rates_of_text_encoders_and_unet(cached, facts, rates, text, unet):
    written = describe(TrainConfig(optimiser=OptimiserConfig(**rates)), cached, facts)
    assert (written["ss_text_encoder_lr"], written["ss_unet_lr"]) == (text, unet)
