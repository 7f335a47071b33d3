"""The arguments of kohya's sdxl_train_network.py that mean something here: one row each.

A row says what a value must look like, what holds when the argument is absent (kohya's default, not
ours), and the field of our settings that it is. Where several arguments decide,
`trainer/kohya/config.py`, `network.py`, `optimiser.py` and `dataset.py` beside it have the last word.
`trainer/kohya/unused.py` has all other arguments.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from ..sdxl.constants import TIMESTEPS

Kind = Literal[
    "switch",
    "whole number",
    "number",
    "text",
    "list of texts",
    "number or list",
    "length",
    "size",
    "table",
]
"""What a value must be. A length is in steps, or a fraction of all steps; a size is `1024` or `W,H`."""


class Key(NamedTuple):
    """One argument. ``sets``: ``section.field`` of our settings, or "" where only others say which."""

    kind: Kind
    default: Any
    sets: str = ""
    choices: tuple[Any, ...] = ()


OFF: Any = False

MODEL = {
    "pretrained_model_name_or_path": Key("text", "", "files.checkpoint"),
    "vae": Key("text", "", "files.vae"),
    "base_weights": Key("list of texts", (), "files.base_weights"),
    "base_weights_multiplier": Key("number or list", ()),
    "network_weights": Key("text", "", "files.network_weights"),
    "v_parameterization": Key("switch", OFF, "files.predicts_v"),
}

NETWORK = {
    "network_module": Key("text", "networks.lora"),
    "LoRA_type": Key("text", ""),
    "network_dim": Key("whole number", 4, "lora.rank"),
    "network_alpha": Key("number", 1.0, "lora.alpha"),
    "dim_from_weights": Key("switch", OFF, "lora.dim_from_weights"),
    "network_dropout": Key("number", 0.0, "lora.dropout"),
    "network_args": Key("list of texts", ()),
    "scale_weight_norms": Key("number", 0.0, "lora.max_norm"),
    "network_train_unet_only": Key("switch", OFF),
    "network_train_text_encoder_only": Key("switch", OFF),
}

OPTIMISER = {
    "optimizer_type": Key("text", "AdamW", "optimiser.type"),
    "use_8bit_adam": Key("switch", OFF),
    "use_lion_optimizer": Key("switch", OFF),
    "optimizer_args": Key("list of texts", ()),
    "learning_rate": Key("number", 2e-6, "optimiser.learning_rate"),
    "unet_lr": Key("number", None),
    "text_encoder_lr": Key("number or list", ()),
    "max_grad_norm": Key("number", 1.0, "optimiser.max_grad_norm"),
    "lr_scheduler": Key("text", "constant", "optimiser.schedule"),
    "lr_scheduler_args": Key("list of texts", ()),
    "lr_warmup_steps": Key("length", 0.0, "optimiser.warmup"),
    "lr_decay_steps": Key("length", 0.0, "optimiser.decay_steps"),
    "lr_scheduler_num_cycles": Key("whole number", 1, "optimiser.cycles"),
    "lr_scheduler_power": Key("number", 1.0, "optimiser.power"),
    "lr_scheduler_timescale": Key("whole number", 0, "optimiser.timescale"),
    "lr_scheduler_min_lr_ratio": Key("number", 0.0, "optimiser.min_lr_ratio"),
}

STEPS = {
    "max_train_steps": Key("whole number", 1600, "train.steps"),
    "max_train_epochs": Key("whole number", 0, "train.epochs"),
    "train_batch_size": Key("whole number", 1, "train.batch_size"),
    "gradient_accumulation_steps": Key("whole number", 1, "train.accumulation"),
    "seed": Key("whole number", None),
    "gradient_checkpointing": Key("switch", OFF),
}

LOSS = {
    "loss_type": Key("text", "l2", "loss.loss_type"),
    "huber_schedule": Key("text", "snr", "loss.huber_schedule"),
    "huber_c": Key("number", 0.1, "loss.huber_c"),
    "huber_scale": Key("number", 1.0, "loss.huber_scale"),
    "min_snr_gamma": Key("number", 0.0, "loss.min_snr_gamma"),
    "debiased_estimation_loss": Key("switch", OFF, "loss.debiased"),
    "scale_v_pred_loss_like_noise_pred": Key("switch", OFF, "loss.scale_v_pred"),
    "v_pred_like_loss": Key("number", 0.0, "loss.v_pred_like"),
    "noise_offset": Key("number", 0.0, "loss.noise_offset"),
    "noise_offset_random_strength": Key("switch", OFF, "loss.noise_offset_random_strength"),
    "adaptive_noise_scale": Key("number", 0.0, "loss.adaptive_noise_scale"),
    "multires_noise_iterations": Key("whole number", 0, "loss.multires_iterations"),
    "multires_noise_discount": Key("number", 0.3, "loss.multires_discount"),
    "ip_noise_gamma": Key("number", 0.0, "loss.ip_noise_gamma"),
    "ip_noise_gamma_random_strength": Key("switch", OFF, "loss.ip_noise_gamma_random_strength"),
    "masked_loss": Key("switch", OFF, "loss.masked"),
    "alpha_mask": Key("switch", OFF),
    "zero_terminal_snr": Key("switch", OFF),
    "min_timestep": Key("whole number", 0, "loss.min_timestep"),
    "max_timestep": Key("whole number", TIMESTEPS, "loss.max_timestep"),
}

CAPTIONS = {
    "shuffle_caption": Key("switch", OFF, "captions.shuffle"),
    "keep_tokens": Key("whole number", 0, "captions.keep_tokens"),
    "keep_tokens_separator": Key("text", "", "captions.keep_tokens_separator"),
    "caption_tag_dropout_rate": Key("number", 0.0, "captions.tag_dropout"),
    "caption_dropout_rate": Key("number", 0.0, "captions.dropout"),
    "caption_dropout_every_n_epochs": Key("whole number", 0, "captions.dropout_every_n_epochs"),
    "caption_prefix": Key("text", "", "captions.prefix"),
    "caption_suffix": Key("text", "", "captions.suffix"),
    "enable_wildcard": Key("switch", OFF, "captions.wildcards"),
    "caption_separator": Key("text", ",", "captions.separator"),
    "secondary_separator": Key("text", "", "captions.secondary_separator"),
    "token_warmup_min": Key("whole number", 1, "captions.token_warmup_min"),
    "token_warmup_step": Key("number", 0.0, "captions.token_warmup_steps"),
}

BUCKETS = {
    "resolution": Key("size", None, "buckets.resolution"),
    "max_resolution": Key("size", None),
    "enable_bucket": Key("switch", OFF, "buckets.enabled"),
    "min_bucket_reso": Key("whole number", 256, "buckets.min_reso"),
    "max_bucket_reso": Key("whole number", 1024, "buckets.max_reso"),
    "bucket_reso_steps": Key("whole number", 64, "buckets.step"),
    "bucket_no_upscale": Key("switch", OFF, "buckets.no_upscale"),
    "skip_image_resolution": Key("size", None),
}

DATA = {
    "train_data_dir": Key("text", ""),
    "reg_data_dir": Key("text", ""),
    "conditioning_data_dir": Key("text", ""),
    "dataset_config": Key("text", ""),
    "dataset_repeats": Key("whole number", 1),
    "caption_extension": Key("text", ".caption"),
    "caption_extention": Key("text", ""),
    "flip_aug": Key("switch", OFF, "cache.flip"),
    "resize_interpolation": Key(
        "text",
        "",
        choices=(
            "", "lanczos", "nearest", "bilinear", "linear", "bicubic", "cubic", "area", "box",
        ),
    ),
    "prior_loss_weight": Key("number", 1.0),
}  # fmt: skip

CACHES = {
    "cache_latents": Key("switch", OFF),
    "cache_latents_to_disk": Key("switch", OFF),
    "cache_text_encoder_outputs": Key("switch", OFF),
    "cache_text_encoder_outputs_to_disk": Key("switch", OFF),
    "vae_batch_size": Key("whole number", 1, "cache.batch_size"),
    "max_token_length": Key("whole number", 75, choices=(75, 150, 225)),
    "weighted_captions": Key("switch", OFF, "texts.weighted"),
}

VALIDATION = {
    "validation_split": Key("number", 0.0, "validation.held_out"),
    "validation_seed": Key("whole number", None, "validation.seed"),
    "validate_every_n_steps": Key("whole number", 0, "validation.every"),
    "validate_every_n_epochs": Key("whole number", 0, "validation.every_epochs"),
    "max_validation_steps": Key("whole number", 0, "validation.max_pictures"),
}

PREVIEWS = {
    "sample_prompts": Key("text", ""),
    "sample_every_n_steps": Key("whole number", 0),
    "sample_every_n_epochs": Key("whole number", 0),
    "sample_at_first": Key("switch", OFF, "previews.at_start"),
    "sample_sampler": Key("text", "ddim", "previews.sampler"),
}

OUTPUT = {
    "output_dir": Key("text", "", "files.output_dir"),
    "output_name": Key("text", "", "checkpoints.name"),
    "save_every_n_epochs": Key("whole number", 0, "checkpoints.every_epochs"),
    "save_every_n_steps": Key("whole number", 0, "checkpoints.every_steps"),
    "save_n_epoch_ratio": Key("whole number", 0, "checkpoints.epoch_ratio"),
    "save_last_n_epochs": Key("whole number", 0, "checkpoints.keep_last_epochs"),
    "save_last_n_steps": Key("whole number", 0, "checkpoints.keep_last_steps"),
    "save_precision": Key("text", "float", choices=("float", "fp16", "bf16")),
    "save_model_as": Key("text", "safetensors", choices=("safetensors",)),
}

WORDS = {
    "metadata_title": Key("text", "", "about.title"),
    "metadata_author": Key("text", "", "about.author"),
    "metadata_description": Key("text", "", "about.description"),
    "metadata_license": Key("text", "", "about.license"),
    "metadata_tags": Key("text", "", "about.tags"),
    "training_comment": Key("text", "", "about.comment"),
    "metadata_trigger_phrase": Key("text", ""),
    "metadata_usage_hint": Key("text", ""),
    "metadata_thumbnail": Key("text", ""),
    "metadata_merged_from": Key("text", ""),
    "metadata_preprocessor": Key("text", ""),
    "metadata_is_negative_embedding": Key("text", ""),
    "no_metadata": Key("switch", OFF, "files.bare"),
}

HONOURED: dict[str, Key] = {
    **MODEL, **NETWORK, **OPTIMISER, **STEPS, **LOSS, **CAPTIONS, **BUCKETS, **DATA, **CACHES,
    **VALIDATION, **PREVIEWS, **OUTPUT, **WORDS,
}  # fmt: skip
"""Every argument that is honoured. LoRA_type and max_resolution are those of kohya's graphical front end."""
