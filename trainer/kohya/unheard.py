"""Names in configs that kohya's trainer for SDXL LoRAs takes no notice of, and why; which names are slips.

kohya looks only for the arguments that it knows, so whatever else stands in a config has no effect there.
Front ends write such names, and so do people who think of another trainer. Here they have none either and
are reported. A name that looks like an argument is an error, because what was meant would be lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

_LENGTH = "kohya takes no notice of it; max_train_epochs or max_train_steps decides"
_IN_NETWORK = "kohya reads it from network_args only, and so it is here"
_IN_OPTIMISER = "kohya reads it from optimizer_args only, and so it is here"
_FRONT_END = "a front end's own setting, of which kohya takes no notice"
_OTHER_MODEL = (
    "an argument of kohya's trainers for other models; that for SDXL takes no notice of it"
)
_OTHER_SCRIPT = "an argument of another script of kohya's; that for LoRAs takes no notice of it"
_OF_INVERSION = "an argument of kohya's textual inversion (here Embedding Settings); its trainer for LoRAs takes no notice of it"
_OF_FULL = "an argument of kohya's full fine-tuning (here Full Tuning Settings); its trainer for LoRAs takes no notice of it"
_PROMPTS = "a front end's way to write sample_prompts, of which kohya takes no notice"

NO_ARGUMENT = "kohya's trainer has no such argument and takes no notice of it"
"""The reason for a name that is in no list."""

_BY_REASON = {
    _LENGTH: "epoch epochs num_epochs",
    "kohya takes no notice of it; noise_offset and multires_noise_iterations decide": "noise_offset_type",
    "kohya takes no notice of it; lr_scheduler_num_cycles decides": "lr_restart_cycles",
    "only SDXL is trained here anyway": "sdxl model_train_type",
    "kohya's trainer for LoRAs trains the text encoders to the end": "stop_text_encoder_training stop_text_encoder_training_pct",
    "ComfyUI chooses the VAE's precision; --fp32-vae on its command line": "sdxl_no_half_vae",
    _IN_NETWORK: "loraplus_lr_ratio loraplus_unet_lr_ratio loraplus_text_encoder_lr_ratio conv_dim conv_alpha "
    "conv_dims conv_alphas block_dims block_alphas conv_block_dims conv_block_alphas down_lr_weight "
    "mid_lr_weight up_lr_weight block_lr_zero_threshold rank_dropout module_dropout dropout algo preset factor "
    "dora_wd wd_on_output rs_lora full_matrix bypass_mode use_cp use_conv_cp use_tucker use_scalar "
    "decompose_both rank_dropout_scale train_norm rescaled constraint constrain unbalanced_factorization "
    "block_size unit train_on_input",
    _IN_OPTIMISER: "d_coef d0 prodigy_d_coef prodigy_d0 weight_decay betas eps decouple use_bias_correction "
    "safeguard_warmup relative_step scale_parameter warmup_init",
    _FRONT_END: "additional_parameters LyCORIS_preset lora_network_weights num_cpu_threads_per_process "
    "num_processes num_machines multi_gpu gpu_ids main_process_port dynamo_mode dynamo_use_fullgraph "
    "dynamo_use_dynamic extra_accelerate_launch_args model_list use_wandb enable_base_weight "
    "enable_block_weights enable_preview lycoris_algo lokr_factor dylora_unit network_args_custom "
    "optimizer_args_custom ui_custom_params enable_debug_options",
    _PROMPTS: "positive_prompts negative_prompts sample_width sample_height sample_cfg sample_seed sample_steps "
    "randomly_choice_prompt prompt_file",
    _OTHER_MODEL: "ae apply_lg_attn_mask apply_t5_attn_mask attn_mode blocks_to_swap byt5 clip_g "
    "clip_g_dropout_rate clip_l clip_l_dropout_rate compile compile_backend compile_cache_size_limit "
    "compile_dynamic compile_fullgraph compile_mode cross_attn_lr discrete_flow_shift double_blocks_to_swap "
    "enable_scaled_pos_embed fp8_scaled fp8_vl gemma2 gemma2_max_token_length guidance_scale llm_adapter_lr "
    "llm_adapter_path logit_mean logit_std mem_eff_save mlp_lr mod_lr mode_scale model_prediction_type "
    "model_type num_last_block_to_freeze pos_emb_random_crop_rate qwen3 qwen3_max_token_length "
    "qwen_image_vae_2d sample_batch_size save_clip save_t5xxl self_attn_lr show_timesteps "
    "show_timesteps_resolution sigmoid_scale single_blocks_to_swap skip_latents_validity_check split_attn "
    "split_mode system_prompt t5_dropout_rate t5_max_token_length t5_tokenizer_path t5xxl t5xxl_device "
    "t5xxl_dtype t5xxl_lr t5xxl_max_token_length text_encoder text_encoder_batch_size text_encoder_cpu "
    "timestep_sampling train_llm_adapter train_t5xxl training_shift unsloth_offload_checkpointing "
    "use_flash_attn use_sage_attn use_t5xxl_cache_only vae_chunk_size vae_disable_cache weighting_scheme",
    _OF_INVERSION: "init_word num_vectors_per_token token_string use_object_template use_style_template weights",
    _OF_FULL: "block_lr blockwise_fused_optimizers fused_optimizer_groups learning_rate_te learning_rate_te1 "
    "learning_rate_te2 train_text_encoder",
    _OTHER_SCRIPT: "cond_emb_dim control_net_lr controlnet_model_name_or_path diffusers_xformers "
    "learning_rate_te3 no_token_padding optimizer_schedulefree_wrapper perlin_noise schedulefree_wrapper_args "
    "use_safetensors",
}

UNHEARD: dict[str, str] = {
    name: reason for reason, names in _BY_REASON.items() for name in names.split()
}
"""Names that are known to stand in configs without any effect in kohya, and the reason."""

NEEDS: dict[str, str] = {
    "huggingface_repo_type": "huggingface_repo_id",
    "huggingface_path_in_repo": "huggingface_repo_id",
    "huggingface_token": "huggingface_repo_id",
    "huggingface_repo_visibility": "huggingface_repo_id",
    "async_upload": "huggingface_repo_id",
    "resume_from_huggingface": "resume",
    "zero_stage": "deepspeed",
    "offload_optimizer_device": "deepspeed",
    "offload_optimizer_nvme_path": "deepspeed",
    "offload_param_device": "deepspeed",
    "offload_param_nvme_path": "deepspeed",
    "zero3_init_flag": "deepspeed",
    "zero3_save_16bit_model": "deepspeed",
    "fp16_master_weights_and_gradients": "deepspeed",
}
"""Arguments without effect in kohya while another one is empty or off."""

NEWER: dict[str, str] = {
    "train_inpainting": "inpainting models cannot be trained here; train their base model instead",
}
"""Arguments of newer versions of kohya's trainer that are refused when they are on, and why."""

_INVERSION = {
    "token_string": "token",
    "num_vectors_per_token": "vectors",
    "init_word": "initial_text",
    "weights": "start",
    "learning_rate": "learning_rate",
}
"""Arguments of sdxl_train_textual_inversion.py, and the inputs of Embedding Settings that they are."""
_FULL = (
    "block_lr",
    "fused_optimizer_groups",
    "learning_rate_te1",
    "learning_rate_te2",
    "train_text_encoder",
)
"""Arguments that only sdxl_train.py has."""

_ALIKE = 0.75


def why_unheard(name: str) -> str:
    """Why a name that is no argument of kohya's has no effect, for the report."""
    return "it is off" if name in NEWER else UNHEARD.get(name, NO_ARGUMENT)


def other_script(arguments: Mapping[str, Any]) -> str | None:
    """For which of kohya's other scripts a config is, and what trains so here; None for one with a network."""
    if arguments.get("network_module"):
        return None
    if arguments.get("token_string"):
        told = ", ".join(
            f"{ours} {arguments[name]}" for name, ours in _INVERSION.items() if arguments.get(name)
        )
        return (
            "it is for sdxl_train_textual_inversion.py and has no network_module, and a LoRA would be trained. "
            f"Connect Embedding Settings to Train instead ({told})"
        )
    if found := [name for name in _FULL if arguments.get(name)]:
        return (
            f"{found[0]} is an argument of sdxl_train.py and there is no network_module, so a LoRA would be "
            "trained. Connect Full Tuning Settings to Train instead, with the text encoders' rates in Optimiser "
            'Settings; or give network_module = "networks.lora"'
        )
    return None


def meant(name: str, known: Collection[str]) -> list[str]:
    """The names that somebody who wrote ``name`` may have meant, nearest first; empty for another word.

    A slip is near one of them letter by letter, or is some of its words: `lr_unet` for `unet_lr`.
    """
    near = get_close_matches(name, known, 3, _ALIKE)
    words = set(name.split("_"))
    if len(words) > 1:
        near += sorted(k for k in known if words <= set(k.split("_")) and k not in near)[:3]
    return near[:3]
