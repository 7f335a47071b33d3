"""Settings files of kohya_ss: JSON as its pages save it, made into what its config toml would hold."""

import json

import pytest

from pack.tests.trainer.kohya.kohya_import import imported

SAVED = {
    "LoRA_type": "Standard", "LyCORIS_preset": "full", "additional_parameters": "", "block_dims": "",
    "bucket_reso_steps": 64, "caption_dropout_every_n_epochs": 0.0, "clip_skip": "1", "conv_dim": 8,
    "conv_alpha": 1, "dataset_config": "", "down_lr_weight": "", "enable_bucket": True, "epoch": 3,
    "factor": -1, "flux1_checkbox": False, "gradient_accumulation_steps": 2.0, "keep_tokens": "1",
    "learning_rate": 0.0002, "lr_scheduler": "cosine", "lr_scheduler_num_cycles": "",
    "lr_scheduler_power": "", "lr_warmup": 10, "lr_warmup_steps": 0, "max_bucket_reso": 2048,
    "max_resolution": "1024,768", "max_timestep": 0, "max_token_length": "150",
    "max_train_epochs": "", "max_train_steps": 0, "min_snr_gamma": 0, "min_bucket_reso": 256,
    "mixed_precision": "bf16", "model_list": "custom", "multires_noise_discount": 0.3,
    "multires_noise_iterations": 6, "network_alpha": 4, "network_dim": 16, "noise_offset": 0.05,
    "noise_offset_type": "Original", "num_cpu_threads_per_process": 2, "optimizer": "AdamW",
    "optimizer_args": '"weight_decay=0.1" "eps=1e-7"', "rank_dropout": 0.1, "reg_data_dir": "",
    "sample_every_n_epochs": 1, "sample_prompts": "a robot --s 12\na cat", "sdxl": True,
    "sdxl_cache_text_encoder_outputs": False, "sdxl_no_half_vae": True, "save_every_n_steps": 0,
    "save_precision": "fp16", "seed": "", "t5xxl_lr": 0, "text_encoder_lr": 0, "train_norm": False,
    "train_batch_size": 3, "train_data_dir": "D:/img", "unet_lr": 0.0001, "use_tucker": False,
    "v_pred_like_loss": 0, "xformers": "xformers", "LyCORIS_thing": "odd",
}  # fmt: skip


def given(**more):
    return imported(base=json.dumps({**SAVED, **more}, indent=2))


def test_what_the_pages_save_is_what_is_trained():
    config = given()
    train = config.train
    assert (train.epochs, train.batch_size, train.accumulation, train.seed) == (3, 3, 2, 0)
    assert (train.lora.rank, train.lora.alpha, train.lora.conv_rank) == (16, 4.0, 0)
    assert (train.lora.algorithm, train.lora.rank_dropout) == ("lora", 0.1)
    own = train.optimiser
    assert (own.learning_rate, own.schedule, own.warmup, own.cycles) == (1e-4, "cosine", 0.1, 3)
    assert (own.weight_decay, own.epsilon, own.text_rates) == (0.1, 1e-7, (0, 0))
    assert train.loss.noise_offset == 0.05 and not train.loss.multires_iterations
    assert (train.loss.min_timestep, train.loss.max_timestep) == (0, 1000)
    assert train.captions.keep_tokens == 1 and config.folders[0].path == "D:/img"
    assert config.folders[0].buckets.resolution == (1024, 768)
    assert [str(one) for one in config.previews["prompts"]] and config.previews["every_epochs"] == 1
    for name in ("LyCORIS_thing", "model_list", "num_cpu_threads_per_process"):
        assert name in config.report
    for name in ("t5xxl_lr", "dataset_config", "conv_dim"):  # not set, or the toml has it not
        assert name not in config.report


def test_a_toml_of_the_same_says_the_same():
    """As kohya_ss writes it when the training starts."""
    toml = """
bucket_reso_steps = 64
enable_bucket = true
gradient_accumulation_steps = 2
keep_tokens = 1
learning_rate = 0.0002
lr_scheduler = "cosine"
lr_scheduler_num_cycles = 3
lr_warmup_steps = 0.1
max_bucket_reso = 2048
resolution = "1024,768"
max_token_length = 150
max_train_epochs = 3
min_bucket_reso = 256
network_alpha = 4
network_dim = 16
network_module = "networks.lora"
network_args = ["rank_dropout=0.1"]
network_train_unet_only = true
noise_offset = 0.05
optimizer_args = ["weight_decay=0.1", "eps=1e-7"]
optimizer_type = "AdamW"
save_precision = "fp16"
train_batch_size = 3
train_data_dir = "D:/img"
unet_lr = 0.0001
"""
    one, other = given(sample_prompts=""), imported(base=toml)
    assert one.train == other.train and one.cache == other.cache and one.folders == other.folders
    assert one.checkpoints == other.checkpoints


KINDS = {
    "Kohya LoCon": ({}, ("lora", 8, False)),
    "LoCon": ({}, ("lora", 8, False)),
    "LyCORIS/LoCon": ({}, ("lora", 8, False)),
    "LyCORIS/LoHa": ({}, ("loha", 8, False)),
    "LyCORIS/LoKr": ({"factor": 4}, ("lokr", 8, False)),
    "LyCORIS/BOFT": ({}, ("boft", 8, False)),
    "LyCORIS/Diag-OFT": ({"constrain": 0.5}, ("oft", 8, False)),
    "Kohya LoHa": ({}, ("loha", 8, False)),
    "Kohya LoKr": ({"conv_dim": 0}, ("lokr", 0, False)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_lora(kind):
    more, expected = KINDS[kind]
    lora = given(LoRA_type=kind, rank_dropout=0, **more).train.lora
    assert (lora.algorithm, lora.conv_rank, lora.dora) == expected
    assert lora.lokr_factor == more.get("factor", -1)
    assert lora.oft_constraint == more.get("constrain", 0)


def test_rates_of_zero_leave_a_part_out():
    texts = given(unet_lr=0, text_encoder_lr=5e-5).train.optimiser
    assert texts.text_rates == (5e-5, 5e-5) and not texts.train_unet
    both = given(unet_lr="", text_encoder_lr="").train.optimiser
    assert both.learning_rate == 2e-4 and both.text_rates == (2e-4, 2e-4) and both.train_unet


def test_steps_go_before_epoch_and_the_command_line_before_all():
    assert given(max_train_steps="250").train.epochs == 0
    assert given(max_train_steps="250").train.steps == 250
    assert given(max_train_epochs="7").train.epochs == 7
    line = '--max_grad_norm=0 --optimizer_args "eps=1e-6" "weight_decay=0.2" --flip_aug --min_snr_gamma 5'
    config = given(additional_parameters=line)
    assert config.train.optimiser.max_grad_norm == 0 and config.train.loss.min_snr_gamma == 5
    assert (config.train.optimiser.epsilon, config.train.optimiser.weight_decay) == (1e-6, 0.2)
    assert config.folders[0].flip


def test_multires_noise_goes_by_its_type():
    loss = given(noise_offset_type="Multires").train.loss
    assert (loss.noise_offset, loss.multires_iterations) == (0, 6)


REFUSED = {
    "network_dim is 'much'; it must be a whole number": {"network_dim": "much"},
    r"network_dim is \[4\]; it must be a whole number": {"network_dim": [4]},
    "enable_bucket is 'maybe'; it must be a switch": {"enable_bucket": "maybe"},
    "for another model than SDXL: flux1_checkbox": {"flux1_checkbox": True},
    "LoRA_type is 'LoRA-FA', which cannot be trained": {"LoRA_type": "LoRA-FA"},
    "LoRA_type is '7', which cannot be trained": {"LoRA_type": 7},
    "a quote that does not end": {"additional_parameters": '--seed "1'},
    "use_tucker": {"LoRA_type": "LyCORIS/LoHa", "use_tucker": True},
    "nothing is sent to wandb": {"log_with": "wandb"},
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_is_odd_or_not_built_gives_a_sentence(sentence):
    with pytest.raises(ValueError, match=sentence):
        given(**REFUSED[sentence])


def test_settings_for_dreambooth_are_no_lora():
    text = json.dumps({"train_data_dir": "x", "epoch": 1})
    with pytest.raises(ValueError, match="not one for LoRAs"):
        imported(base=text)
