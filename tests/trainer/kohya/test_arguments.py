"""Every argument of kohya's trainer is honoured, ignored or refused, and every setting of ours is reached."""

import dataclasses
import re

import pytest

from pack.tests.trainer.kohya.kohya_arguments import NAMES
from pack.tests.trainer.kohya.kohya_import import imported, settings_of
from pack.trainer.kohya.arguments import HONOURED
from pack.trainer.kohya.unused import IGNORED, REFUSED, REPLACED

BESIDE = {"LoRA_type", "max_resolution", "lowvram"}
"""Names in users' configs that kohya's scripts pass over."""

YOUNGER = {"skip_image_resolution"}
"""Arguments of sd-scripts 0.11."""


def test_every_argument_has_one_row():
    tables = (HONOURED, IGNORED, REFUSED)
    known = [name for table in tables for name in table]
    assert len(known) == len(set(known))
    assert set(known) == {*NAMES, *BESIDE, *YOUNGER}
    assert len(NAMES) == 196
    assert REPLACED.keys() <= HONOURED.keys()


def test_what_is_ignored_is_this_and_no_more():
    assert set(IGNORED) == {
        "xformers", "sdpa", "mem_eff_attn", "lowram", "lowvram", "highvram",
        "cpu_offload_checkpointing", "disable_mmap_load_safetensors", "mixed_precision", "full_fp16",
        "full_bf16", "fp8_base", "fp8_base_unet", "no_half_vae", "torch_compile", "dynamo_backend",
        "fused_backward_pass", "clip_skip", "max_data_loader_n_workers",
        "persistent_data_loader_workers", "cache_info", "skip_cache_check", "save_state",
        "save_state_on_train_end", "save_last_n_epochs_state", "save_last_n_steps_state",
        "logging_dir", "log_prefix", "log_tracker_name", "log_tracker_config", "log_config",
        "wandb_run_name", "wandb_api_key", "console_log_level", "console_log_file",
        "console_log_simple", "tokenizer_cache_dir", "config_file",
    }  # fmt: skip
    assert set(REPLACED) == {
        "pretrained_model_name_or_path", "vae", "base_weights", "base_weights_multiplier",
        "network_weights", "v_parameterization", "output_dir", "output_name", "save_precision",
        "no_metadata", "training_comment", "metadata_title", "metadata_author",
        "metadata_description", "metadata_license", "metadata_tags", "metadata_usage_hint",
        "metadata_thumbnail", "metadata_merged_from", "metadata_preprocessor",
        "metadata_is_negative_embedding",
    }  # fmt: skip


@pytest.mark.parametrize("name", IGNORED)
def test_the_report_says_why_something_is_ignored(name):
    report = imported(f"{name} = true").report
    assert f"  {name}: {IGNORED[name]}" in report.split("Ignored:\n")[1]
    assert imported(f"{name} = true").train == imported("").train


LYCORIS = 'network_module = "lycoris.kohya"\n'

TEXT = "network_train_unet_only = false\n"

VALUES = {
    "lora.rank": ("network_dim = 7", 7),
    "lora.alpha": ("network_alpha = 3", 3.0),
    "lora.conv_rank": ('network_args = ["conv_dim=5"]', 5),
    "lora.conv_alpha": ('network_args = ["conv_dim=5", "conv_alpha=2"]', 2.0),
    "lora.dropout": ("network_dropout = 0.1", 0.1),
    "lora.rank_dropout": ('network_args = ["rank_dropout=0.2"]', 0.2),
    "lora.module_dropout": ('network_args = ["module_dropout=0.3"]', 0.3),
    "lora.loraplus_ratio": ('network_args = ["loraplus_lr_ratio=4"]', 4.0),
    "lora.dim_from_weights": ("dim_from_weights = true", True),
    "lora.max_norm": ("scale_weight_norms = 1", 1.0),
    "lora.block_ranks": (f'network_args = ["block_dims={",".join("2" * 23)}"]', (2,) * 23),
    "lora.block_alphas": (
        f'network_args = ["block_dims={",".join("2" * 23)}", "block_alphas={",".join("1" * 23)}"]',
        (1.0,) * 23,
    ),
    "lora.conv_block_ranks": (
        f'network_args = ["block_dims={",".join("2" * 23)}", "conv_block_dims={",".join("3" * 23)}"]',
        (3,) * 23,
    ),
    "lora.conv_block_alphas": (
        f'network_args = ["block_dims={",".join("2" * 23)}", "conv_block_dims={",".join("3" * 23)}", '
        f'"conv_block_alphas={",".join("1" * 23)}"]',
        (1.0,) * 23,
    ),
    "lora.block_rates": (
        'network_args = ["mid_lr_weight=.5,.25,.125"]',
        (*[1.0] * 10, 0.5, 0.25, 0.125, *[1.0] * 10),
    ),
    "lora.rank_stabilised": (f'{LYCORIS}network_args = ["rs_lora=True"]', True),
    "lora.algorithm": (f'{LYCORIS}network_args = ["algo=loha"]', "loha"),
    "lora.lokr_factor": (f'{LYCORIS}network_args = ["algo=lokr", "factor=8"]', 8),
    "lora.full_matrix": (f'{LYCORIS}network_args = ["algo=lokr", "full_matrix=True"]', True),
    "lora.layers": (f'{LYCORIS}network_args = ["preset=attn-only"]', "attention"),
    "lora.oft_blocks": ('network_module = "networks.oft"\nnetwork_dim = 8', 8),
    "lora.oft_constraint": (f'{LYCORIS}network_args = ["algo=diag-oft", "constraint=0.5"]', 0.5),
    "lora.dora": (f'{LYCORIS}network_args = ["dora_wd=True", "wd_on_output=False"]', True),
    "optimiser.learning_rate": ("learning_rate = 1e-4", 1e-4),
    "optimiser.schedule": ('lr_scheduler = "cosine"', "cosine"),
    "optimiser.warmup": ('lr_scheduler = "constant_with_warmup"\nlr_warmup_steps = 10', 10.0),
    "optimiser.beta1": ('optimizer_args = ["betas=0.8,0.99"]', 0.8),
    "optimiser.beta2": ('optimizer_args = ["betas=0.8,0.99"]', 0.99),
    "optimiser.epsilon": ('optimizer_args = ["eps=1e-6"]', 1e-6),
    "optimiser.weight_decay": ('optimizer_args = ["weight_decay=0.1"]', 0.1),
    "optimiser.max_grad_norm": ("max_grad_norm = 0.5", 0.5),
    "optimiser.cycles": ("lr_scheduler_num_cycles = 3", 3),
    "optimiser.power": ("lr_scheduler_power = 2", 2.0),
    "optimiser.min_lr_ratio": ("lr_scheduler_min_lr_ratio = 0.1", 0.1),
    "optimiser.decay_steps": ("lr_decay_steps = 0.2", 0.2),
    "optimiser.timescale": ("lr_scheduler_timescale = 50", 50),
    "optimiser.step_rules": (
        """lr_scheduler = "piecewise_constant"\nlr_scheduler_args = ["step_rules='1:10,0.1'"]""",
        "1:10,0.1",
    ),
    "optimiser.end_rate": (
        'lr_scheduler = "polynomial"\nlr_scheduler_args = ["lr_end=1e-8"]',
        1e-8,
    ),
    "optimiser.warmup_shape": (
        """lr_scheduler = "warmup_stable_decay"\nlr_scheduler_args = ["warmup_type='cosine'"]""",
        "cosine",
    ),
    "optimiser.decay_shape": (
        """lr_scheduler = "warmup_stable_decay"\nlr_scheduler_args = ["decay_type='linear'"]""",
        "linear",
    ),
    "optimiser.type": ('optimizer_type = "lion"', "Lion"),
    "optimiser.arguments": (
        'optimizer_type = "Prodigy"\nlearning_rate = 1\noptimizer_args = ["d_coef=2"]',
        ("d_coef=2",),
    ),
    "optimiser.text_encoder_1_rate": (f"{TEXT}text_encoder_lr = [1e-5, 2e-5]", 1e-5),
    "optimiser.text_encoder_2_rate": (f"{TEXT}text_encoder_lr = [1e-5, 2e-5]", 2e-5),
    "optimiser.train_unet": (f"{TEXT}network_train_text_encoder_only = true", False),
    "train.steps": ("max_train_steps = 77", 77),
    "train.epochs": ("max_train_epochs = 50", 50),
    "train.batch_size": ("train_batch_size = 3", 3),
    "train.accumulation": ("gradient_accumulation_steps = 2", 2),
    "train.seed": ("seed = 42", 42),
    "train.checkpointing": ("gradient_checkpointing = true", "full"),
    "loss.loss_type": ('loss_type = "huber"', "huber"),
    "loss.huber_schedule": ('huber_schedule = "constant"', "constant"),
    "loss.huber_c": ("huber_c = 0.2", 0.2),
    "loss.huber_scale": ("huber_scale = 2", 2.0),
    "loss.min_snr_gamma": ("min_snr_gamma = 5", 5.0),
    "loss.debiased": ("debiased_estimation_loss = true", True),
    "loss.scale_v_pred": ("scale_v_pred_loss_like_noise_pred = true", True),
    "loss.v_pred_like": ("v_pred_like_loss = 0.5", 0.5),
    "loss.noise_offset": ("noise_offset = 0.05", 0.05),
    "loss.noise_offset_random_strength": ("noise_offset_random_strength = true", True),
    "loss.adaptive_noise_scale": ("noise_offset = 0.05\nadaptive_noise_scale = 0.01", 0.01),
    "loss.multires_iterations": ("multires_noise_iterations = 6", 6),
    "loss.multires_discount": ("multires_noise_discount = 0.2", 0.2),
    "loss.ip_noise_gamma": ("ip_noise_gamma = 0.1", 0.1),
    "loss.ip_noise_gamma_random_strength": ("ip_noise_gamma_random_strength = true", True),
    "loss.min_timestep": ("min_timestep = 10", 10),
    "loss.max_timestep": ("max_timestep = 900", 900),
    "loss.masked": ("masked_loss = true", True),
    "loss.zero_terminal_snr": ("zero_terminal_snr = true", "on"),
    "captions.shuffle": ("shuffle_caption = true", True),
    "captions.keep_tokens": ("keep_tokens = 2", 2),
    "captions.keep_tokens_separator": ('keep_tokens_separator = "|||"', "|||"),
    "captions.tag_dropout": ("caption_tag_dropout_rate = 0.1", 0.1),
    "captions.dropout": ("caption_dropout_rate = 0.2", 0.2),
    "captions.dropout_every_n_epochs": ("caption_dropout_every_n_epochs = 3", 3),
    "captions.prefix": ('caption_prefix = "a"', "a"),
    "captions.suffix": ('caption_suffix = "z"', "z"),
    "captions.wildcards": ("enable_wildcard = true", True),
    "captions.separator": ('caption_separator = ";"', ";"),
    "captions.secondary_separator": ('secondary_separator = ";;"', ";;"),
    "captions.token_warmup_min": ("token_warmup_min = 2", 2),
    "captions.token_warmup_steps": ("token_warmup_step = 0.5", 0.5),
    "buckets.resolution": ('resolution = "768,640"', (768, 640)),
    "buckets.enabled": ("enable_bucket = true", True),
    "buckets.min_reso": ("min_bucket_reso = 512", 512),
    "buckets.max_reso": ("max_bucket_reso = 1536", 1536),
    "buckets.step": ("bucket_reso_steps = 32", 32),
    "buckets.no_upscale": ("bucket_no_upscale = true", True),
    "cache.flip": ("flip_aug = true", True),
    "cache.batch_size": ("vae_batch_size = 4", 4),
    "texts.chunks": ("max_token_length = 225", "kohya 225"),
    "texts.weighted": ("weighted_captions = true", True),
    "validation.held_out": ("validation_split = 0.1\nvalidate_every_n_epochs = 1", 0.1),
    "validation.every": ("validation_split = 0.1\nvalidate_every_n_steps = 50", 50),
    "validation.every_epochs": ("validation_split = 0.1\nvalidate_every_n_epochs = 3", 3),
    "validation.max_pictures": ("validation_split = 0.1\nmax_validation_steps = 4", 4),
    "validation.seed": ("validation_split = 0.1\nvalidation_seed = 9", 9),
    "about.title": ('metadata_title = "a"', "a"),
    "about.author": ('metadata_author = "a"', "a"),
    "about.description": ('metadata_description = "a"', "a"),
    "about.license": ('metadata_license = "a"', "a"),
    "about.tags": ('metadata_tags = "a, b"', "a, b"),
    "about.comment": ('training_comment = "a"', "a"),
    "checkpoints.name": ('output_name = "mine"', "mine"),
    "checkpoints.every_steps": ("save_every_n_steps = 100", 100),
    "checkpoints.every_epochs": ("save_every_n_epochs = 1", 1),
    "checkpoints.epoch_ratio": ("save_n_epoch_ratio = 5", 5),
    "checkpoints.keep_last_steps": ("save_last_n_steps = 300", 300),
    "checkpoints.keep_last_epochs": ("save_last_n_epochs = 3", 3),
    "checkpoints.precision": ('save_precision = "bf16"', "bf16"),
}
"""For each field of our settings, arguments that set it, and to what."""

OURS_ONLY = {
    "optimiser.ema_decay",
    "train.compact",
    "train.speed",
    "checkpoints.every_minutes",
    "validation.patience",
    "validation.keep_best",
    "validation.timesteps",
    "loss.preservation",
    "loss.preservation_class",
    "cache.kohya",  # always on for a config
    "lora.least_rank",
    "captions.pick_line",
    "captions.frequent_dropout",
    "captions.joining",  # kohya's own way has changed, to ours
    "cache.more_resolutions",
    "cache.fresh_samples",
    "lora.parts",  # sdxl_train.py has no such choice, and its arguments are not read
    "lora.fused_backward",
    "lora.bf16_weights",
    "loss.timestep_sampling",  # of kohya's trainers for other models, which do not say them for SDXL
    "loss.timestep_location",
    "loss.timestep_scale",
    "loss.discrete_flow_shift",
    "loss.immiscible",
    "train.embedding",
    "train.slider",
}
"""Fields that no argument of kohya's sets."""


HOLDERS = {
    "train.lora", "train.optimiser", "train.loss", "train.captions", "cache.buckets", "cache.texts",
    "train.validation",
}  # fmt: skip
"""Fields that hold a settings class of the list."""


def fields():
    """Every field of every settings class that a run is made of."""
    return {
        f"{section}.{field.name}"
        for section, part in settings_of(imported("")).items()
        for field in dataclasses.fields(part)
    } - HOLDERS


def test_every_field_is_visited():
    assert fields() == VALUES.keys() | OURS_ONLY
    assert not VALUES.keys() & OURS_ONLY


@pytest.mark.parametrize("field", VALUES)
def test_an_argument_sets_the_field_and_no_other(field):
    lines, value = VALUES[field]
    found = settings_of(imported(lines))
    section, name = field.split(".")
    assert getattr(found[section], name) == value
    assert getattr(settings_of(imported(""))[section], name) != value
    (argument, *more) = re.findall(r"^(\w+) =", lines, re.M)
    if not more and HONOURED[argument].sets == field:
        before = settings_of(imported(""))
        changed = {
            f"{part}.{item.name}"
            for part, settings in found.items()
            for item in dataclasses.fields(settings)
            if getattr(settings, item.name) != getattr(before[part], item.name)
        }
        assert changed - HOLDERS == {field}


@pytest.mark.parametrize("argument", [name for name, key in HONOURED.items() if key.sets])
def test_a_row_that_names_a_field_names_one_that_is_tested(argument):
    section = HONOURED[argument].sets.split(".")[0]
    if section not in ("files", "previews"):
        lines, _ = VALUES[HONOURED[argument].sets]
        assert f"{argument} =" in lines
