"""What each attribute of MODEL, CLIP and VAE means for the numbers that are made with them: the whole list.

An attribute *counts* where it is part of a fingerprint, is *refused* where training says a sentence
instead, and is *free* where it can change no number of ours, for the reason that is given. The host
tests walk the classes of the running ComfyUI and fail on an attribute that is not in a list here.
"""

from __future__ import annotations

OTHER_PARTS = ("model_sampling", "manual_cast_dtype")
"""Object patches that a fingerprint reads as the parts that they stand in for."""

LOADING_CALLBACKS = ("on_clone", "on_load_after", "on_apply_hooks")
"""Callbacks that run before weights are used outside of sampling; others run while sampling or after."""

_LOADED = "what loading wrote and will take back; fingerprints are read through it"
_MEMORY = "where weights lie and when they move"
_SAMPLING = "read by ComfyUI's samplers alone; training and encoding go past them"
_NAME = "tells copies of one model apart"


def _names(text: str) -> list[str]:
    return text.split()


def _each(text: str, why: str) -> dict[str, str]:
    """The same reason for several attributes."""
    return dict.fromkeys(_names(text), why)


PATCHER_COUNTS = frozenset(
    _names(
        "model patches object_patches weight_wrapper_patches forced_hooks hook_patches callbacks"
    )
)
PATCHER_REFUSED = frozenset(_names("injections"))
PATCHER_FREE = {
    **_each(
        "backup backup_buffers object_patches_backup hook_backup hook_patches_backup "
        "cached_hook_patches current_hooks is_injected skip_injection",
        _LOADED,
    ),
    **_each(
        "load_device offload_device size pinned hook_mode weight_inplace_update "
        "cached_patcher_init non_dynamic_delegate_model _free_methods "
        "_last_free_log_time _last_prepare_log_key",
        _MEMORY,
    ),
    **_each("model_options wrappers additional_models", _SAMPLING),
    **_each("patches_uuid parent clone_base_uuid is_multigpu_base_clone", _NAME),
    "attachments": "what node packs keep for callbacks and wrappers, which count by themselves",
    "force_cast_weights": "weights are cast to what is computed in, which counts",
    "is_clip": "says of what kind it is",
}
"""ModelPatcher, of any of the three."""

MODEL_COUNTS = frozenset(_names("diffusion_model model_sampling manual_cast_dtype model_config"))
MODEL_REFUSED = frozenset(_names("latent_format"))
MODEL_FREE = {
    **_each(
        "device memory_usage_factor memory_usage_factor_conds "
        "memory_usage_shape_process current_weight_patches_uuid lowvram_patch_counter "
        "model_loaded_weight_memory model_lowvram model_offload_buffer_memory "
        "dynamic_vbars dynamic_pins dynamic_patchers",
        _MEMORY,
    ),
    **_each("current_patcher blank_inpaint_image_like latent_shapes", _SAMPLING),
    **_each(
        "adm_channels embedder noise_augmentor",
        "how ComfyUI makes the vector of sizes; the trainer makes its own",
    ),
    "concat_keys": "what an inpainting model takes besides; those are refused by their channels",
    "model_type": "what model_sampling was made for, which counts",
    "training": "SDXL has no layer that computes otherwise in training",
}
"""BaseModel and SDXL, which the patcher of a MODEL holds."""

CLIP_COUNTS = frozenset(_names("patcher cond_stage_model tokenizer layer_idx tokenizer_options"))
CLIP_REFUSED = frozenset(_names("use_clip_schedule"))
CLIP_FREE = {
    "apply_hooks_to_conds": "goes with CONDITIONING into samplers; hooks on the CLIP count"
}

ENCODER_FREE = {
    **_each(
        "layer layer_idx return_projected_pooled execution_device",
        "set again from options_default and the CLIP for every encoding",
    ),
    "operations": "the kind of the layers, whose weights count",
    "num_layers": "the number of layers, whose weights count",
    "logit_scale": "used in the training of CLIP alone",
    "logit_scale_comfy_model_dtype": _MEMORY,
    "transformer": "a module, whose weights count",
    "training": "no layer that computes otherwise in training",
    "can_assign_sd": _MEMORY,
}
_START_END = {"start": 49406, "end": 49407}
ENCODERS: dict[str, dict[str, object]] = {
    name: {
        "options_default": ("hidden", -2, True),
        "layer_norm_hidden_state": False,
        "enable_attention_masks": False,
        "zero_out_masked": False,
        "return_attention_masks": False,
        "max_length": 77,
        "special_tokens": {**_START_END, "pad": pad},
    }
    for name, pad in (("clip_l", 49407), ("clip_g", 0))
}
"""SDXL's two text encoders as ComfyUI makes them; any other value counts."""

PAIR_FREE = {
    "dtypes": "what the weights are stored in, which counts",
    "clip_l": "one of ENCODERS",
    "clip_g": "one of ENCODERS",
    "training": "no layer that computes otherwise in training",
    **{name: MODEL_FREE[name] for name in MODEL_FREE if MODEL_FREE[name] == _MEMORY},
    "manual_cast_dtype": "counts as a part of the patcher",
    "can_assign_sd": _MEMORY,
}

TOKENIZER_FREE = {
    "tokenizer": "SDXL's vocabulary; its class and size count",
    "inv_vocab": "the vocabulary the other way round, for showing",
    "embedding_directory": "where embeddings lie; those that captions name count by their contents",
}
VOCABULARY = 49408
"""Tokens of SDXL's tokenizers."""

TOKENIZERS: dict[str, dict[str, object]] = {
    name: {
        "tokens_start": 1,
        "tokenizer_adds_end_token": True,
        "start_token": 49406,
        "end_token": 49407,
        "pad_token": pad,
        "pad_with_end": name == "clip_l",
        "pad_to_max_length": True,
        "pad_left": False,
        "min_length": None,
        "min_padding": None,
        "max_length": 77,
        "max_word_length": 8,
        "embedding_identifier": "embedding:",
        "embedding_size": width,
        "embedding_key": name,
        "disable_weights": False,
    }
    for name, pad, width in (("clip_l", 49407, 768), ("clip_g", 0, 1280))
}
"""SDXL's two tokenizers as ComfyUI makes them; any other value counts."""

VAE_COUNTS = frozenset(_names("patcher first_stage_model vae_dtype process_input"))
VAE_REFUSED = {"latent_channels": 4, "latent_dim": 2, "downscale_ratio": 8}
VAE: dict[str, object] = {
    "output_channels": 3,
    "pad_channel_value": None,
    "crop_input": True,
    "not_video": False,
    "extra_1d_channel": None,
    "downscale_index_formula": None,
    "handles_tiling": False,
    "format_encoded": None,
}
"""An SDXL VAE as ComfyUI makes it; any other value counts."""

VAE_FREE = {
    **_each(
        "device output_device disable_offload size working_dtypes memory_used_encode "
        "memory_used_decode",
        _MEMORY,
    ),
    **_each(
        "upscale_ratio upscale_index_formula process_output conv_out_channels",
        "decoding alone, for previews",
    ),
    **_each("audio_sample_rate audio_sample_rate_output autoencoder", "sound alone"),
}
