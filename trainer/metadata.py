"""What a LoRA file says of itself: kohya's `ss_*` keys and modelspec, all values text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from .blocks import MIDDLE, SIDE
from .cache import CachedDataset
from .config import LoraConfig, OptimiserConfig, TrainConfig
from .diffusion import Prediction
from .optimisers import KINDS, class_name
from .texts import TextRecipe

VERSION = "0.1.0"

PRIVATE_KEYS = ("ss_dataset_dirs", "ss_reg_dataset_dirs", "ss_tag_frequency", "ss_sd_model_name")
"""Keys that name folders, files or tags of the user's machine."""


@dataclass(frozen=True)
class RunFacts:
    """What a finished run knows beside its config. Times are unix seconds."""

    steps: int
    epochs: int
    batches_per_epoch: int
    started: float
    finished: float
    prediction: Prediction
    zero_terminal_snr: bool
    trigger: str = ""


def describe(config: TrainConfig, cached: CachedDataset, facts: RunFacts) -> dict[str, str]:
    """kohya's metadata of a run, without the hashes that need the file (see lora_file)."""
    values: dict[str, object] = {
        **_run_keys(facts),
        **_recipe_keys(config, facts),
        **_data_keys(cached, config),
        **_modelspec_keys(cached, facts),
        "lora_loop.version": VERSION,
        "lora_loop.config": json.dumps(config.to_dict()),
    }
    if facts.trigger:
        values["modelspec.trigger_phrase"] = facts.trigger
    return {key: value if isinstance(value, str) else str(value) for key, value in values.items()}


def without_private(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata without names of folders, files and tags."""
    return {key: value for key, value in metadata.items() if key not in PRIVATE_KEYS}


def _run_keys(facts: RunFacts) -> dict[str, object]:
    return {
        "ss_training_started_at": facts.started,
        "ss_training_finished_at": facts.finished,
        "ss_steps": facts.steps,
        "ss_epoch": facts.epochs,
        "ss_num_epochs": facts.epochs,
        "ss_num_batches_per_epoch": facts.batches_per_epoch,
    }


def _recipe_keys(config: TrainConfig, facts: RunFacts) -> dict[str, object]:
    optimiser, loss, lora = config.optimiser, config.loss, config.lora
    warmup = float(optimiser.warmup)
    network_args = _network_args(lora)
    return {
        "ss_base_model_version": "sdxl_base_v1-0",
        "ss_v2": False,
        "ss_seed": config.seed,
        "ss_max_train_steps": config.steps,
        "ss_learning_rate": optimiser.learning_rate,
        "ss_unet_lr": optimiser.learning_rate if optimiser.train_unet else None,
        "ss_text_encoder_lr": _text_rates(optimiser),
        "ss_lr_scheduler": optimiser.schedule,
        "ss_lr_warmup_steps": int(warmup) if warmup.is_integer() else warmup,
        "ss_optimizer": _optimiser(optimiser),
        "ss_max_grad_norm": optimiser.max_grad_norm,
        "ss_gradient_accumulation_steps": config.accumulation,
        "ss_network_module": "lycoris.kohya" if _is_lycoris(lora) else "networks.lora",
        "ss_network_dim": lora.rank,
        "ss_network_alpha": lora.alpha,
        **({"ss_network_args": json.dumps(network_args)} if network_args else {}),
        "ss_network_dropout": lora.dropout or None,
        "ss_scale_weight_norms": lora.max_norm or None,
        "ss_loss_type": loss.loss_type,
        "ss_huber_schedule": loss.huber_schedule,
        "ss_huber_c": loss.huber_c,
        "ss_huber_scale": loss.huber_scale,
        "ss_min_snr_gamma": loss.min_snr_gamma or None,
        "ss_debiased_estimation": loss.debiased,
        "ss_noise_offset": loss.noise_offset or None,
        "ss_noise_offset_random_strength": loss.noise_offset_random_strength,
        "ss_adaptive_noise_scale": loss.adaptive_noise_scale or None,
        "ss_multires_noise_iterations": loss.multires_iterations or None,
        "ss_multires_noise_discount": loss.multires_discount,
        "ss_ip_noise_gamma": loss.ip_noise_gamma or None,
        "ss_ip_noise_gamma_random_strength": loss.ip_noise_gamma_random_strength,
        "ss_zero_terminal_snr": facts.zero_terminal_snr,
    }


def _is_lycoris(lora: LoraConfig) -> bool:
    """Whether it is what LyCORIS makes, and not kohya itself."""
    return lora.algorithm != "lora" or lora.dora


def _text_rates(optimiser: OptimiserConfig) -> float | list[float] | None:
    """The text encoders' learning rate, both where they differ, None where none is trained."""
    if not optimiser.trains_text:
        return None
    one, two = optimiser.text_rates
    return one if one == two else [one, two]


def _network_args(lora: LoraConfig) -> dict[str, str]:
    """kohya's network_args, or those of LyCORIS, all values text; only those that were set."""
    rates = lora.block_rates[1:-1]
    is_lycoris = _is_lycoris(lora)
    found: dict[str, object] = {
        "algo": lora.algorithm if is_lycoris else None,
        "factor": lora.lokr_factor if lora.algorithm == "lokr" else None,
        "dora_wd": lora.dora,
        "wd_on_output": "False" if lora.dora else None,
        "conv_dim": lora.conv_rank,
        "conv_alpha": lora.conv_alpha if lora.conv_rank else None,
        "rank_dropout": lora.rank_dropout,
        "module_dropout": lora.module_dropout,
        "loraplus_lr_ratio": lora.loraplus_ratio,
        "block_dims": lora.block_ranks,
        "block_alphas": lora.block_alphas,
        "conv_block_dims": lora.conv_block_ranks,
        "conv_block_alphas": lora.conv_block_alphas,
        "down_lr_weight": rates[:SIDE],
        "mid_lr_weight": rates[SIDE : SIDE + MIDDLE],
        "up_lr_weight": rates[SIDE + MIDDLE :],
        "rs_lora" if is_lycoris else "rank_stabilised": lora.rank_stabilised,
    }
    return {
        name: ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        for name, value in found.items()
        if value
    }


def _optimiser(config: OptimiserConfig) -> str:
    """kohya's ``module.Class(key=value,...)``."""
    arguments = {**KINDS[config.type].defaults, **config.constructor_arguments()}
    given = ",".join(f"{key}={value}" for key, value in arguments.items())
    return f"{class_name(config.type)}({given})" if given else class_name(config.type)


def _data_keys(cached: CachedDataset, config: TrainConfig) -> dict[str, object]:
    dataset, buckets, captions = cached.dataset, cached.recipe.buckets, config.captions
    folders: dict[bool, dict[str, dict[str, int]]] = {False: {}, True: {}}
    totals = {False: 0, True: 0}
    for subset in dataset.subsets:
        count = len(subset.samples)
        known = folders[subset.is_reg].setdefault(subset.name, {"n_repeats": 0, "img_count": 0})
        known["n_repeats"] = max(subset.repeats, known["n_repeats"])
        known["img_count"] += count
        totals[subset.is_reg] += count * subset.repeats
    return {
        "ss_num_train_images": totals[False],
        "ss_num_reg_images": totals[True],
        "ss_batch_size_per_device": config.batch_size,
        "ss_total_batch_size": config.batch_size,
        "ss_resolution": buckets.resolution,
        "ss_enable_bucket": buckets.enabled,
        "ss_bucket_no_upscale": buckets.no_upscale,
        "ss_min_bucket_reso": buckets.min_reso,
        "ss_max_bucket_reso": buckets.max_reso,
        "ss_bucket_info": json.dumps({"buckets": _bucket_counts(cached)}),
        "ss_cache_latents": True,
        "ss_flip_aug": cached.recipe.flip,
        "ss_shuffle_caption": captions.shuffle,
        "ss_keep_tokens": captions.keep_tokens,
        "ss_caption_dropout_rate": captions.dropout,
        "ss_caption_dropout_every_n_epochs": captions.dropout_every_n_epochs,
        "ss_caption_tag_dropout_rate": captions.tag_dropout,
        "ss_max_token_length": _max_token_length(cached.texts),
        "ss_dataset_dirs": json.dumps(folders[False]),
        "ss_reg_dataset_dirs": json.dumps(folders[True]),
        "ss_tag_frequency": json.dumps(dataset.tag_frequency(), ensure_ascii=False),
    }


def _max_token_length(texts: TextRecipe) -> int | None:
    """kohya's setting; None, its word for 75, also where ComfyUI takes as many chunks as it needs."""
    tokens = texts.chunks.removeprefix("kohya ")
    return int(tokens) if tokens in ("150", "225") else None


def _bucket_counts(cached: CachedDataset) -> dict[str, dict[str, object]]:
    counts: dict[tuple[int, int], int] = {}
    for item in cached.items:
        counts[item.bucket] = counts.get(item.bucket, 0) + item.repeats
    return {
        str(index): {"resolution": list(bucket), "count": count}
        for index, (bucket, count) in enumerate(sorted(counts.items()))
    }


def _modelspec_keys(cached: CachedDataset, facts: RunFacts) -> dict[str, object]:
    width, height = cached.recipe.buckets.resolution
    finished = datetime.fromtimestamp(facts.finished, tz=timezone.utc)
    return {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
        "modelspec.date": finished.replace(tzinfo=None, microsecond=0).isoformat(),
        "modelspec.resolution": f"{width}x{height}",
        "modelspec.prediction_type": "v" if facts.prediction == "v" else "epsilon",
    }
