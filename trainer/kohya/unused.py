"""kohya's arguments that set nothing here: those that are ignored, and why, and those that are refused.

Both lists are closed: any other argument is either honoured (`trainer/kohya/arguments.py`) or unknown.
"""

from __future__ import annotations

from typing import Any, NamedTuple

_ATTENTION = "attention is ComfyUI's; choose it on ComfyUI's command line"
_MEMORY = "ComfyUI's memory manager does this"
_PRECISION = (
    "the model computes in the precision that ComfyUI loads it in (--fp16-unet, --bf16-unet, "
    "--fp32-unet on its command line); adapters, noise and loss are fp32"
)
_LOADING = "images are read once; training reads the cache"
_SAVED = "the run's folder always keeps the last two states and goes on from them by itself"
_LOGS = "a run's log lies in its folder"
_CACHED = "the cache goes by the contents of files and is never stale"

IGNORED: dict[str, str] = {
    "xformers": _ATTENTION,
    "sdpa": _ATTENTION,
    "mem_eff_attn": _ATTENTION,
    "lowram": _MEMORY,
    "lowvram": _MEMORY,
    "highvram": _MEMORY,
    "cpu_offload_checkpointing": _MEMORY,
    "disable_mmap_load_safetensors": _MEMORY,
    "mixed_precision": _PRECISION,
    "full_fp16": _PRECISION,
    "full_bf16": _PRECISION,
    "fp8_base": _PRECISION,
    "fp8_base_unet": _PRECISION,
    "no_half_vae": "ComfyUI chooses the VAE's precision; --fp32-vae on its command line",
    "torch_compile": "it would change speed only",
    "dynamo_backend": "it would change speed only",
    "fused_backward_pass": "kohya's LoRA trainer takes no notice of it either",
    "clip_skip": "kohya takes no notice of it for SDXL either",
    "max_data_loader_n_workers": _LOADING,
    "persistent_data_loader_workers": _LOADING,
    "cache_info": _CACHED,
    "skip_cache_check": _CACHED,
    "save_state": _SAVED,
    "save_state_on_train_end": _SAVED,
    "save_last_n_epochs_state": _SAVED,
    "save_last_n_steps_state": _SAVED,
    "logging_dir": _LOGS,
    "log_prefix": _LOGS,
    "log_tracker_name": _LOGS,
    "log_tracker_config": _LOGS,
    "log_config": _LOGS,
    "wandb_run_name": _LOGS,
    "wandb_api_key": _LOGS,
    "console_log_level": _LOGS,
    "console_log_file": _LOGS,
    "console_log_simple": _LOGS,
    "tokenizer_cache_dir": "ComfyUI brings its tokenizers",
    "config_file": "it names this very file",
}
"""What may stand in a config without an effect on the numbers, and why it has none."""

_WORDS = "Save LoRA has words of its own"

REPLACED: dict[str, str] = {
    "pretrained_model_name_or_path": "the MODEL and CLIP on Train take its place",
    "vae": "the VAE on Cache Latents takes its place",
    "base_weights": "a Load LoRA node in front of Train takes its place",
    "base_weights_multiplier": "the strength of that Load LoRA node takes its place",
    "network_weights": "Load LoRA for Training at start_from of Train takes its place",
    "v_parameterization": "the MODEL says what it predicts; ModelSamplingDiscrete changes it",
    "output_dir": "the LoRA goes to models/loras by Save LoRA",
    "output_name": "Save LoRA has a name of its own",
    "save_precision": "Save LoRA has a precision of its own",
    "no_metadata": "Save LoRA leaves names and tags out when private is on",
    "metadata_title": _WORDS,
    "metadata_author": _WORDS,
    "metadata_description": _WORDS,
    "metadata_license": _WORDS,
    "metadata_tags": _WORDS,
    "training_comment": _WORDS,
    "metadata_usage_hint": _WORDS,
    "metadata_thumbnail": _WORDS,
    "metadata_merged_from": _WORDS,
    "metadata_preprocessor": _WORDS,
    "metadata_is_negative_embedding": _WORDS,
}
"""What a socket or node replaces in a graph; the command line honours all of them."""


class Refusal(NamedTuple):
    """A value other than ``default`` (or nothing at all) is not supported; what to do instead."""

    default: Any
    advice: str


_UPLOAD = "nothing is uploaded from here; remove it and upload the saved file yourself"
_SEVERAL = "one process trains on one GPU here; remove it"
_RESUME = (
    "a run goes on by itself where it stopped, and kohya's states cannot be read; remove it. To "
    "start from a LoRA that kohya saved, give it as network_weights"
)
_AUGMENT = (
    "latents are always cached, and kohya refuses this together with cache_latents; remove it"
)
_BESIDE = "captions are read from files beside the images; make caption files and remove it"

REFUSED: dict[str, Refusal] = {
    "v2": Refusal(False, "only SDXL models are trained here; remove it"),
    "lr_scheduler_type": Refusal(
        "", "a scheduler is not loaded by its class; choose one by lr_scheduler"
    ),
    "log_with": Refusal("tensorboard", "nothing is sent to wandb; write tensorboard or remove it"),
    "resume": Refusal("", _RESUME),
    "resume_from_huggingface": Refusal(False, _RESUME),
    "skip_until_initial_step": Refusal(False, _RESUME),
    "initial_epoch": Refusal(1, _RESUME),
    "initial_step": Refusal(0, _RESUME),
    "huggingface_repo_id": Refusal("", _UPLOAD),
    "huggingface_repo_type": Refusal("model", _UPLOAD),
    "huggingface_path_in_repo": Refusal("", _UPLOAD),
    "huggingface_token": Refusal("", _UPLOAD),
    "huggingface_repo_visibility": Refusal("private", _UPLOAD),
    "save_state_to_huggingface": Refusal(False, _UPLOAD),
    "async_upload": Refusal(False, _UPLOAD),
    "deepspeed": Refusal(False, _SEVERAL),
    "zero_stage": Refusal(2, _SEVERAL),
    "offload_optimizer_device": Refusal("none", _SEVERAL),
    "offload_optimizer_nvme_path": Refusal("", _SEVERAL),
    "offload_param_device": Refusal("none", _SEVERAL),
    "offload_param_nvme_path": Refusal("", _SEVERAL),
    "zero3_init_flag": Refusal(False, _SEVERAL),
    "zero3_save_16bit_model": Refusal(False, _SEVERAL),
    "fp16_master_weights_and_gradients": Refusal(False, _SEVERAL),
    "ddp_timeout": Refusal(0, _SEVERAL),
    "ddp_gradient_as_bucket_view": Refusal(False, _SEVERAL),
    "ddp_static_graph": Refusal(False, _SEVERAL),
    "color_aug": Refusal(False, _AUGMENT),
    "random_crop": Refusal(False, _AUGMENT),
    "face_crop_aug_range": Refusal("", _AUGMENT),
    "in_json": Refusal("", _BESIDE),
    "dataset_class": Refusal("", "no code is loaded by a config; give train_data_dir or a dataset"),
    "debug_dataset": Refusal(
        False, "remove it and look at the contact sheet of Load Dataset instead"
    ),
    "output_config": Refusal(False, "remove it; the run's folder keeps the whole recipe"),
}
"""Arguments whose effect is not supported; a value that changes nothing passes."""
