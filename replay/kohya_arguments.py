"""kohya's command line, as recorded, in our words: what its metadata depends on."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ..trainer.config.captions import CaptionConfig
from ..trainer.config.lora import LoraConfig
from ..trainer.config.loss import LossConfig
from ..trainer.sdxl.buckets import BucketConfig
from .case import Unsupported
from .network import lora_config

_SWITCHES = (
    "enable_bucket", "bucket_no_upscale", "flip_aug", "shuffle_caption", "full_fp16", "fp8_base",
    "gradient_checkpointing", "network_train_unet_only", "cache_latents", "lowram", "no_metadata",
    "v_parameterization", "zero_terminal_snr", "debiased_estimation_loss",
    "scale_v_pred_loss_like_noise_pred", "noise_offset_random_strength",
    "ip_noise_gamma_random_strength",
)  # fmt: skip
_TEXTS = (
    "pretrained_model_name_or_path", "train_data_dir", "reg_data_dir", "output_name", "lr_warmup_steps",
    "training_comment", "metadata_title", "metadata_author", "metadata_description",
    "metadata_license", "metadata_tags", "resize_interpolation", "lr_decay_steps",
)  # fmt: skip
_TEXTS_WITH_DEFAULT = {
    "network_module": "networks.lora",
    "mixed_precision": "no",
    "optimizer_type": "AdamW",
    "lr_scheduler": "constant",
    "loss_type": "l2",
    "huber_schedule": "snr",
    "caption_extension": ".caption",
    "resolution": "1024,1024",
}
_NUMBERS = {
    "network_alpha": 1.0,
    "network_dropout": None,
    "scale_weight_norms": None,
    "learning_rate": 2e-6,
    "unet_lr": None,
    "max_grad_norm": 1.0,
    "lr_scheduler_power": 1.0,
    "lr_scheduler_min_lr_ratio": None,
    "min_snr_gamma": None,
    "v_pred_like_loss": None,
    "noise_offset": None,
    "adaptive_noise_scale": None,
    "multires_noise_discount": 0.3,
    "ip_noise_gamma": None,
    "huber_c": 0.1,
    "huber_scale": 1.0,
    "prior_loss_weight": 1.0,
    "caption_dropout_rate": 0.0,
    "caption_tag_dropout_rate": 0.0,
}
_COUNTS = {
    "network_dim": 4,
    "max_train_steps": 1600,
    "max_train_epochs": None,
    "seed": None,
    "gradient_accumulation_steps": 1,
    "train_batch_size": 1,
    "min_bucket_reso": 256,
    "max_bucket_reso": 1024,
    "bucket_reso_steps": 64,
    "keep_tokens": 0,
    "caption_dropout_every_n_epochs": 0,
    "max_token_length": None,
    "multires_noise_iterations": None,
    "min_timestep": None,
    "max_timestep": None,
    "lr_scheduler_num_cycles": 1,
}
_LISTS = ("network_args", "optimizer_args", "text_encoder_lr")

_SILENT_SWITCHES = (
    "save_state", "save_state_on_train_end", "cache_latents_to_disk", "cache_text_encoder_outputs",
    "cache_text_encoder_outputs_to_disk", "skip_cache_check", "persistent_data_loader_workers",
    "no_half_vae", "highvram", "xformers", "sdpa", "mem_eff_attn",
)  # fmt: skip
_SILENT = (
    "output_dir", "logging_dir", "save_precision", "save_every_n_epochs", "save_every_n_steps",
    "save_last_n_epochs", "save_last_n_steps", "save_last_n_epochs_state", "save_last_n_steps_state",
    "save_n_epoch_ratio", "save_model_as", "max_data_loader_n_workers", "vae_batch_size",
    "caption_separator",
)  # fmt: skip
"""What no metadata key tells of."""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The recorded arguments with kohya's defaults. Raises Unsupported, naming what is not built."""
    parser = argparse.ArgumentParser(exit_on_error=False, add_help=False, allow_abbrev=False)
    for name in (*_SWITCHES, *_SILENT_SWITCHES):
        parser.add_argument(f"--{name}", action="store_true")
    for name in (*_TEXTS, *_SILENT):
        parser.add_argument(f"--{name}")
    for name, default in _TEXTS_WITH_DEFAULT.items():
        parser.add_argument(f"--{name}", default=default)
    for name, number in _NUMBERS.items():
        parser.add_argument(f"--{name}", type=float, default=number)
    for name, count in _COUNTS.items():
        parser.add_argument(f"--{name}", type=int, default=count)
    for name in _LISTS:
        parser.add_argument(f"--{name}", nargs="*", default=[])
    found, unknown = parser.parse_known_args(list(arguments))
    if unknown:
        raise Unsupported(f"metadata_run: {' '.join(unknown)}")
    if not found.network_train_unet_only:
        raise Unsupported("metadata_run: training of the text encoders")
    if found.network_module != "networks.lora":
        raise Unsupported(f"metadata_run: network_module={found.network_module}")
    return found


def network(given: argparse.Namespace) -> LoraConfig:
    """The network that the arguments ask for."""
    pairs = dict(pair.split("=", 1) for pair in given.network_args)
    return lora_config(vars(given), pairs)


def loss(given: argparse.Namespace) -> LossConfig:
    """Noise and loss."""
    return LossConfig(
        loss_type=given.loss_type,
        huber_schedule=given.huber_schedule,
        huber_c=given.huber_c,
        huber_scale=given.huber_scale,
        min_snr_gamma=given.min_snr_gamma or 0.0,
        debiased=given.debiased_estimation_loss,
        scale_v_pred=given.scale_v_pred_loss_like_noise_pred,
        v_pred_like=given.v_pred_like_loss or 0.0,
        noise_offset=given.noise_offset or 0.0,
        noise_offset_random_strength=given.noise_offset_random_strength,
        adaptive_noise_scale=given.adaptive_noise_scale or 0.0,
        multires_iterations=given.multires_noise_iterations or 0,
        multires_discount=given.multires_noise_discount,
        ip_noise_gamma=given.ip_noise_gamma or 0.0,
        ip_noise_gamma_random_strength=given.ip_noise_gamma_random_strength,
        min_timestep=given.min_timestep or 0,
        max_timestep=given.max_timestep or 1000,
    )


def captions(given: argparse.Namespace) -> CaptionConfig:
    """How captions are shown."""
    return CaptionConfig(
        shuffle=given.shuffle_caption,
        keep_tokens=given.keep_tokens,
        tag_dropout=given.caption_tag_dropout_rate,
        dropout=given.caption_dropout_rate,
        dropout_every_n_epochs=given.caption_dropout_every_n_epochs,
    )


def buckets(given: argparse.Namespace) -> BucketConfig:
    """Resolution and buckets."""
    sides: list[Any] = given.resolution.split(",")
    return BucketConfig(
        (int(sides[0]), int(sides[-1])),
        given.enable_bucket,
        given.min_bucket_reso,
        given.max_bucket_reso,
        given.bucket_reso_steps,
        given.bucket_no_upscale,
    )
