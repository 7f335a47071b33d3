"""A kohya config's errors, optimisers, networks, previews and report."""

import pytest

from pack.tests.trainer.kohya.kohya_import import BASE, imported
from pack.trainer.config.lora import LoraConfig
from pack.trainer.kohya.prompt_lines import parse_prompts
from pack.trainer.kohya.unheard import NEEDS
from pack.trainer.kohya.unused import REFUSED

LYCORIS = 'network_module = "lycoris.kohya"\n'


def test_sections_are_put_together():
    flat = imported("network_dim = 7\nlearning_rate = 1e-3\n")
    sections = f"[model_arguments]\n{BASE}[network]\nnetwork_dim = 7\n[any]\nlearning_rate = 1e-3\n"
    assert imported(base=sections).train == flat.train
    with pytest.raises(ValueError, match="network_dim stands there twice"):
        imported(base=f"{BASE}network_dim = 4\n[other]\nnetwork_dim = 7\n")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("netwrk_dim = 4", r"config\.toml: netwrk_dim is no argument.*did you mean network_dim"),
        ("lr_unet = 4", "lr_unet is no argument.*did you mean unet_lr"),
        ("min_snr = 5", "min_snr is no argument.*did you mean min_snr_gamma"),
        ('network_dim = "4"', "network_dim is '4'; it must be a whole number"),
        ("network_dim = true", "network_dim is True; it must be a whole number"),
        ("network_dim = 4.0", "network_dim is 4.0; it must be a whole number"),
        ('learning_rate = "1e-4"', "learning_rate is '1e-4'; it must be a number"),
        ("enable_bucket = 1", "enable_bucket is 1; it must be a switch"),
        ("optimizer_args = [1]", "optimizer_args is .*it must be a list of texts"),
        ('resolution = "1,2,3"', "resolution is '1,2,3'; it must be a size"),
        ("max_token_length = 300", "it must be one of 75, 150, 225"),
        ('loss_type = "l3"', "loss_type is 'l3'; it must be one of"),
        ('optimizer_type = "Sophia"', "optimizer_type is 'Sophia'; it must be one of"),
        ('optimizer_args = ["decouple"]', "'decouple' is not of the form key=value"),
        ('optimizer_args = ["nonsense=1"]', "AdamW has no argument nonsense"),
        ('use_8bit_adam = true\noptimizer_type = "Lion"', "use_8bit_adam contradicts"),
        ('lr_scheduler = "wave"', "lr_scheduler is 'wave'; it must be one of constant_with_warmup"),
        ('network_args = ["conv_dims=4"]', "network_args has conv_dims; of networks.lora are understood"),
        ('network_args = ["conv_dim"]', "'conv_dim' is not of the form key=value"),
        ('network_args = ["dropout=a"]', "network_args dropout is 'a'; it must be a number"),
        ('network_args = ["block_alphas=1,2"]', "block_alphas has no effect without block_dims"),
        ('network_module = "networks.dylora"', "it must be one of networks.lora, .*DyLoRA cannot"),
        ('LoRA_type = "LyCORIS/LoHa"', "LoRA_type 'LyCORIS/LoHa' contradicts network_module"),
        (LYCORIS + 'network_args = ["algo=oft"]', "algo is 'oft'; it must be one of lora, locon"),
        (LYCORIS + 'network_args = ["algo=tlora"]', "one of lora, .*never tells .*least_rank does"),
        (LYCORIS + 'network_args = ["algo=full", "preset=full"]', "one of lora, .*Full Tuning Settings do"),
        (LYCORIS + 'network_args = ["algo=glora"]', "one of lora, .*GLoRA, whose change"),
        (LYCORIS + 'network_args = ["algo=ia3", "preset=ia3"]', "one of lora, .*iA3, one factor"),
        (LYCORIS + 'network_args = ["algo=dylora", "unit=4"]', "one of lora, .*DyLoRA cannot"),
        (LYCORIS + 'network_args = ["preset=ia3"]', "preset is 'ia3'; it must be one of full, full-lin"),
        (LYCORIS + 'network_args = ["dora_wd=True"]', "add wd_on_output=False"),
        (LYCORIS + 'network_args = ["dora_wd=maybe"]', "dora_wd is 'maybe'; it must be True or False"),
        ('lr_scheduler_args = ["lr_end=1"]', "lr_scheduler_args has lr_end; constant has none there"),
        ("min_timestep = 900\nmax_timestep = 100", "timesteps are 900 to 100"),
        ('save_model_as = "ckpt"', "it must be one of safetensors"),
        ('dataset_config = "x.toml"\n[[datasets]]', r"has \[\[datasets\]\] and names dataset_config"),
        ("train_data_dir = \"a\\images\"", r"not valid toml.*write / or"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(lines, message):
    with pytest.raises(ValueError, match=message):
        imported(lines)


def test_everything_wrong_is_said_together():
    with pytest.raises(ValueError, match=r"netwrk_dim.*learning_rate.*resume"):
        imported('netwrk_dim = 4\nlearning_rate = "x"\nresume = "state"\n')


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_had_is_refused_unless_it_changes_nothing(name):
    refusal = REFUSED[name]
    text = "true" if refusal.default is False else '"something"'
    partner = f'\n{NEEDS[name]} = "given"' if name in NEEDS else ""
    with pytest.raises(ValueError, match=f"{name} = .*: ") as caught:
        imported(f"{name} = {text}{partner}")
    assert refusal.advice in str(caught.value)
    for nothing in ("false", '""', "0", "[]"):
        assert imported(f"{name} = {nothing}").train == imported().train


def test_no_pictures():
    with pytest.raises(ValueError, match="names no images"):
        imported(base="network_train_unet_only = true\n")


def test_kohyas_defaults():
    train = imported().train
    assert (train.steps, train.batch_size, train.lora.rank, train.lora.alpha) == (1600, 1, 4, 1.0)
    assert (train.optimiser.type, train.optimiser.learning_rate) == ("AdamW", 2e-6)
    cache = imported().cache
    assert cache.kohya and not cache.buckets.enabled and not cache.flip
    assert (cache.buckets.min_reso, cache.buckets.max_reso) == (256, 1024)
    assert cache.texts.chunks == "kohya 75"
    report = imported().report
    assert "network_dim = 4" in report and "learning_rate = 2e-06" in report
    assert "max_grad_norm" not in report  # the same here and there


@pytest.mark.parametrize(
    ("lines", "kind", "arguments"),
    [
        ('optimizer_type = "adamw8bit"\noptimizer_args = ["weight_decay=0.1"]', "AdamW8bit", ()),
        ("use_8bit_adam = true", "AdamW8bit", ()),
        ('use_lion_optimizer = true\noptimizer_args = ["weight_decay=0.1"]', "Lion", ("weight_decay=0.1",)),
        ('optimizer_type = "torch.optim.RAdam"', "RAdam", ()),
        ('optimizer_type = "DAdaptAdamPreprint"', "DAdaptation", ()),
        ('optimizer_type = ""', "AdamW", ()),
    ],
)  # fmt: skip
def test_optimisers_by_kohyas_names(lines, kind, arguments):
    optimiser = imported(lines).train.optimiser
    assert (optimiser.type, optimiser.arguments) == (kind, arguments)


def test_the_rate_of_the_unet_goes_before():
    assert imported("learning_rate = 1e-4\nunet_lr = 2e-4").train.optimiser.learning_rate == 2e-4


@pytest.mark.parametrize(
    ("lines", "rates"),
    [
        ("", (1e-4, 1e-4, 1e-4, True)),
        ("text_encoder_lr = 5e-5", (1e-4, 5e-5, 5e-5, True)),
        ("text_encoder_lr = [5e-5]", (1e-4, 5e-5, 5e-5, True)),
        ("text_encoder_lr = [5e-5, 0]\nunet_lr = 2e-4", (2e-4, 5e-5, 0.0, True)),
        ("unet_lr = 0", (1e-4, 1e-4, 1e-4, False)),
    ],
)
def test_rates_of_the_text_encoders(lines, rates):
    config = imported(f"network_train_unet_only = false\nlearning_rate = 1e-4\n{lines}")
    found = config.train.optimiser
    assert (
        found.learning_rate, found.text_encoder_1_rate, found.text_encoder_2_rate, found.train_unet
    ) == rates  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("cache_text_encoder_outputs = true", "leaves the text encoders as they are"),
        ("text_encoder_lr = [1, 2, 3]", "text_encoder_lr has 3 numbers"),
        ('network_args = ["loraplus_unet_lr_ratio=4"]', "LoRA\\+ ratios 4 for the UNet and 0 for"),
    ],
)
def test_what_is_wrong_with_text_encoders_is_said(lines, message):
    with pytest.raises(ValueError, match=message):
        imported(f"network_train_unet_only = false\n{lines}")


def test_words_for_the_metadata():
    config = imported(
        'metadata_usage_hint = "softly"\nmetadata_trigger_phrase = "thing"\nno_metadata = true'
    )
    assert config.files.words == {"modelspec.usage_hint": "softly"}
    assert config.trigger == "thing" and config.files.bare


@pytest.mark.parametrize(
    ("lines", "warmup"),
    [("lr_warmup_steps = 100", 100.0), ("lr_warmup_steps = 0.1", 0.1), ('lr_warmup_steps = "10%"', 0.1)],
)  # fmt: skip
def test_warm_up_in_steps_or_as_a_share(lines, warmup):
    optimiser = imported(f'lr_scheduler = "cosine"\n{lines}').train.optimiser
    assert (optimiser.schedule, optimiser.warmup) == ("cosine", warmup)


def test_adafactor_has_a_schedule_of_its_own():
    lines = 'optimizer_type = "Adafactor"\nlr_scheduler = "adafactor:1e-3"\nlr_warmup_steps = 9'
    optimiser = imported(lines).train.optimiser
    assert (optimiser.schedule, optimiser.warmup) == ("constant", 0.0)
    with pytest.raises(ValueError, match="lr_scheduler is 'adafactor:1e-3'"):
        imported(lines + '\noptimizer_args = ["relative_step=False"]')


def test_lycoris_adapts_convolutions_at_the_rank_of_the_rest():
    lora = imported(LYCORIS + "network_dim = 8\nnetwork_alpha = 4").train.lora
    assert lora == LoraConfig(8, 4.0, conv_rank=8, conv_alpha=4.0)
    lines = LYCORIS + 'network_dim = 8\nnetwork_args = ["algo=lokr", "conv_dim=2", "conv_alpha=1"]'
    lora = imported(lines).train.lora
    assert lora == LoraConfig(8, 1.0, conv_rank=2, conv_alpha=1.0, algorithm="lokr")


def test_alphas_of_kohya():
    assert imported("network_dim = 8\nnetwork_alpha = 0").train.lora.alpha == 8.0
    lora = imported('network_args = ["conv_dim=8", "conv_alpha=4", "dropout=0.5"]').train.lora
    assert lora == LoraConfig(4, 1.0, conv_rank=8, conv_alpha=4.0, dropout=0.5)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.txt", "# no\n\n a cat --w 640 --d 42 --n bad\nfree\n"),
        ("p.json", '["a cat --w 640 --d 42 --n bad", {"prompt": "free"}]'),
        ("p.json", '[{"prompt": "a cat", "negative_prompt": "bad", "width": 640, "seed": 42}, "free"]'),
        ("p.toml", '[prompt]\nnegative_prompt = "bad"\n[[prompt.subset]]\nprompt = "a cat"\nwidth = 640\n'
         'seed = 42\n[[prompt.subset]]\nprompt = "free"\nnegative_prompt = ""\n'),
    ],
)  # fmt: skip
def test_prompts_of_every_kind_of_file(tmp_path, name, text):
    (tmp_path / name).write_text(text, "utf-8")
    lines = f'sample_prompts = "{name}"\nsample_every_n_steps = 100\nsample_every_n_epochs = 2\nsample_sampler = "dpmsolver++"'
    previews = imported(lines, folder=tmp_path).previews
    first, second = parse_prompts("\n".join(previews["prompts"]))
    assert (first.text, first.width, first.seed, first.negative) == ("a cat", 640, 42, "bad")
    assert second.text == "free" and not second.negative
    assert (previews["every"], previews["every_epochs"]) == (100, 2)
    assert previews["sampler"] == "dpmpp_2m"
    assert (previews["width"], previews["steps"], previews["cfg"]) == (512, 30, 7.5)


def test_every_option_of_a_prompt_in_a_table(tmp_path):
    (tmp_path / "p.json").write_text(
        '[{"prompt": "a", "negative_prompt": "b", "width": 640, "height": 512, "seed": 4, "scale": 3.5,'
        '"sample_steps": 9, "sample_sampler": "euler_a"}]',
        "utf-8",
    )
    (line,) = imported('sample_prompts = "p.json"', folder=tmp_path).previews["prompts"]
    assert line == "a --n b --w 640 --h 512 --d 4 --l 3.5 --s 9 --ss euler_a"


def test_what_differs_is_said_when_it_does():
    plain = imported('resolution = "1024"\nseed = 1\ngradient_checkpointing = true').report
    assert plain.split("Unlike kohya:\n")[1].count("\n") == 0
    lines = 'reg_data_dir = "r"\nmax_resolution = "512"\nresolution = "1024"\nlr_warmup_steps = 5'
    report = imported(lines).report.split("Unlike kohya:\n")[1]
    for words in (
        "no seed",
        "regularisation images take turns",
        "max_resolution",
        "warms up here",
    ):
        assert words in report
