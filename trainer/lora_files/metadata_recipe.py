"""kohya's metadata of how was trained: optimiser, network, noise and loss."""

from __future__ import annotations

import json

from ..config.lora import LoraConfig
from ..config.loss import LossConfig
from ..config.optimiser import OptimiserConfig
from ..config.optimiser_arguments import parse_arguments
from ..config.optimisers import KINDS, class_name, is_relative, own_defaults
from ..config.train import TrainConfig
from ..sdxl.blocks import MIDDLE, SIDE


def recipe_keys(config: TrainConfig) -> dict[str, object]:
    """`ss_*` key -> value, of the settings that a config holds."""
    return {
        "ss_seed": config.seed,
        "ss_max_train_steps": config.steps,
        "ss_gradient_accumulation_steps": config.accumulation,
        "ss_gradient_checkpointing": config.checkpointing == "full",
        **_optimiser_keys(config.optimiser),
        **_network_keys(config.lora),
        **_loss_keys(config.loss),
    }


def _optimiser_keys(optimiser: OptimiserConfig) -> dict[str, object]:
    warmup, rate = float(optimiser.warmup), optimiser.learning_rate
    relative = is_relative(optimiser.type, optimiser.constructor_arguments())
    return {
        "ss_learning_rate": None if relative else rate,
        "ss_unet_lr": rate if optimiser.train_unet and not relative else None,
        "ss_text_encoder_lr": None if relative else _text_rates(optimiser),
        "ss_lr_scheduler": f"adafactor:{rate}" if relative else _schedule(optimiser),
        "ss_lr_warmup_steps": int(warmup) if warmup.is_integer() else warmup,
        "ss_optimizer": _optimiser(optimiser),
        "ss_max_grad_norm": optimiser.max_grad_norm,
    }


def _text_rates(optimiser: OptimiserConfig) -> float | list[float] | None:
    """The text encoders' learning rate, both where they differ, None where none is trained."""
    if not optimiser.trains_text:
        return None
    one, two = optimiser.text_rates
    return one if one == two else [one, two]


def _schedule(optimiser: OptimiserConfig) -> str:
    """kohya's word: its ``constant`` takes no warm-up."""
    warms = optimiser.schedule == "constant" and optimiser.warmup
    return "constant_with_warmup" if warms else optimiser.schedule


def _optimiser(config: OptimiserConfig) -> str:
    """kohya's ``module.Class(key=value,...)``: what was given, and what differs from the class's defaults."""
    given = {**KINDS[config.type].defaults, **parse_arguments(config.arguments)}
    arguments = {**given, **config.constructor_arguments()}
    usual = own_defaults(config.type)
    shown = [
        f"{key}={value}"
        for key, value in arguments.items()
        if key in given or value != usual.get(key)
    ]
    return f"{class_name(config.type)}({','.join(shown)})" if shown else class_name(config.type)


_LYCORIS = {"oft": "diag-oft"}
"""LyCORIS' names of algorithms, where they are others than ours."""
_PRESETS = {
    "standard": None,
    "attention": "attn-only",
    "linear": "full-lin",
    "resnets": "unet-convblock-only",
}
"""LyCORIS' presets that choose the same layers."""


def _network_keys(lora: LoraConfig) -> dict[str, object]:
    arguments = _network_args(lora)
    found: dict[str, object] = {
        "ss_network_module": "lycoris.kohya" if _is_lycoris(lora) else "networks.lora",
        "ss_network_dim": lora.rank,
        "ss_network_alpha": lora.alpha,
        "ss_network_dropout": lora.dropout or None,
        "ss_scale_weight_norms": lora.max_norm or None,
    }
    if arguments:  # kohya repeats the dropout there
        arguments["dropout"] = lora.dropout or None
        found["ss_network_args"] = json.dumps(arguments)
    return found


def _is_lycoris(lora: LoraConfig) -> bool:
    """Whether it is what LyCORIS makes, and not kohya itself."""
    return lora.algorithm != "lora" or lora.dora


def _network_args(lora: LoraConfig) -> dict[str, str | float | None]:
    """kohya's network_args, or those of LyCORIS, all values text; only those that were set."""
    rates = lora.block_rates[1:-1]
    is_lycoris = _is_lycoris(lora)
    found: dict[str, object] = {
        "algo": _LYCORIS.get(lora.algorithm, lora.algorithm) if is_lycoris else None,
        "preset": _PRESETS[lora.layers],
        "constraint": lora.oft_constraint,
        "blocks": lora.oft_blocks,
        "least_rank": lora.least_rank,
        "factor": lora.lokr_factor if lora.algorithm == "lokr" else None,
        "full_matrix": lora.full_matrix,
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


def _loss_keys(loss: LossConfig) -> dict[str, object]:
    return {
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
        **_draw_keys(loss),
    }


def _draw_keys(loss: LossConfig) -> dict[str, object]:
    """What kohya's SDXL trainer has not, where it is used; in its words of other trainers."""
    found: dict[str, object] = {}
    if loss.timestep_sampling != "uniform":
        found["ss_timestep_sampling"] = loss.timestep_sampling
        found["ss_timestep_location"] = loss.timestep_location
        found["ss_sigmoid_scale"] = loss.timestep_scale
    if loss.immiscible:
        found["ss_immiscible"] = loss.immiscible
    if loss.discrete_flow_shift:
        found["ss_discrete_flow_shift"] = loss.discrete_flow_shift
    return found
