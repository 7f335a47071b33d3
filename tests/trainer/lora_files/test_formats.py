import json
import math

import pytest
import torch

from pack.trainer.lora_files.formats import DIFFUSERS_METADATA, to_diffusers_lora, to_kohya

KOHYA = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_out_0"
DIFFUSERS = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0"
ENCODER = "text_model_encoder_layers_3_self_attn_out_proj"
ENCODER_PATH = "text_model.encoder.layers.3.self_attn.out_proj"
DOWN, UP = torch.arange(8.0).reshape(2, 4), torch.arange(6.0).reshape(3, 2)


def pair(down, up, **more):
    return {down: DOWN, up: UP, **more}


def kohya(stem, alpha):
    return {f"{stem}.lora_down.weight": DOWN, f"{stem}.lora_up.weight": UP, f"{stem}.alpha": alpha}


def assert_is(found, stem, alpha):
    assert found.keys() == kohya(stem, alpha).keys()
    assert found[f"{stem}.lora_down.weight"] is DOWN and found[f"{stem}.lora_up.weight"] is UP
    assert float(found[f"{stem}.alpha"]) == pytest.approx(alpha)


FORMS = {
    "kohya": (f"{KOHYA}.lora_down.weight", f"{KOHYA}.lora_up.weight"),
    "kohya, diffusers' layers": (
        f"lora_unet_{DIFFUSERS.replace('.', '_')}.lora_down.weight",
        f"lora_unet_{DIFFUSERS.replace('.', '_')}.lora_up.weight",
    ),
    "diffusers": (f"unet.{DIFFUSERS}.lora_A.weight", f"unet.{DIFFUSERS}.lora_B.weight"),
    "diffusers, one adapter of several": (
        f"unet.{DIFFUSERS}.lora_A.default_0.weight", f"unet.{DIFFUSERS}.lora_B.default_0.weight",
    ),
    "diffusers, UNet alone": (f"{DIFFUSERS}.lora_A.weight", f"{DIFFUSERS}.lora_B.weight"),
    "diffusers, before peft": (
        f"unet.{DIFFUSERS}.lora.down.weight", f"unet.{DIFFUSERS}.lora.up.weight",
    ),
    "diffusers, attention processors": (
        f"unet.{DIFFUSERS[:-9]}.processor.to_out_lora.down.weight",
        f"unet.{DIFFUSERS[:-9]}.processor.to_out_lora.up.weight",
    ),
    "peft": (
        f"base_model.model.{DIFFUSERS}.lora_A.weight", f"base_model.model.{DIFFUSERS}.lora_B.weight",
    ),
    "peft on the checkpoint's names": (
        "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_out.0.lora_A.weight",
        "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_out.0.lora_B.weight",
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_are_read_and_without_an_alpha_nothing_is_scaled(form):
    assert_is(to_kohya(pair(*FORMS[form])), KOHYA, alpha=2.0)


@pytest.mark.parametrize("form", ["kohya, diffusers' layers", "diffusers", "peft"])
def test_an_alpha_in_the_file_is_kept(form):
    down, up = FORMS[form]
    stem = down.split(".lora_")[0]
    config = {"lora_alpha": 5}
    alpha = torch.tensor(0.5)
    assert_is(to_kohya({down: DOWN, up: UP, f"{stem}.alpha": alpha}, config=config), KOHYA, 0.5)


ENCODERS = {
    "kohya": (f"{ENCODER}.lora_down.weight", f"{ENCODER}.lora_up.weight"),
    "diffusers": (f"{ENCODER_PATH}.lora_A.weight", f"{ENCODER_PATH}.lora_B.weight"),
    "without text_model": (
        f"{ENCODER_PATH[11:]}.lora_A.weight", f"{ENCODER_PATH[11:]}.lora_B.weight",
    ),
    "linear layers": (
        f"{ENCODER_PATH}.lora_linear_layer.down.weight", f"{ENCODER_PATH}.lora_linear_layer.up.weight",
    ),
    "old": (
        f"{ENCODER_PATH[:-8]}to_out_lora.down.weight", f"{ENCODER_PATH[:-8]}to_out_lora.up.weight",
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", ENCODERS)
@pytest.mark.parametrize(("number", "prefix"), [("1", "text_encoder."), ("2", "text_encoder_2.")])
def test_text_encoders_are_told_apart(form, number, prefix):
    prefix = f"lora_te{number}_" if form == "kohya" else prefix
    down, up = ENCODERS[form]
    assert_is(to_kohya(pair(prefix + down, prefix + up)), f"lora_te{number}_{ENCODER}", 2.0)


def test_peft_scales_by_its_config():
    tensors = pair(*FORMS["peft"])
    assert_is(to_kohya(tensors, config={"r": 2, "lora_alpha": 6}), KOHYA, 6.0)
    config = {"lora_alpha": 6, "use_rslora": True}
    assert_is(to_kohya(tensors, config=config), KOHYA, 6.0 * math.sqrt(2))
    config = {"lora_alpha": 6, "alpha_pattern": {"attn1.to_out.0": 3, "ttn1.to_out.0": 9}}
    assert_is(to_kohya(tensors, config=config), KOHYA, 3.0)


def test_diffusers_scales_by_its_metadata_one_config_for_each_part():
    encoder = [f"text_encoder.{name}" for name in ENCODERS["diffusers"]]
    tensors = {**pair(*FORMS["diffusers"]), **pair(*encoder)}
    config = {"unet.lora_alpha": 7, "text_encoder.lora_alpha": 1, "unet.r": 2}
    found = to_kohya(tensors, {DIFFUSERS_METADATA: json.dumps(config)})
    assert float(found[f"{KOHYA}.alpha"]) == 7
    assert float(found[f"lora_te1_{ENCODER}.alpha"]) == 1


def test_kohya_keys_of_any_kind_stay_as_they_are():
    tensors = {f"{KOHYA}.hada_w1_a": UP, f"{KOHYA}.dora_scale": DOWN, f"{KOHYA}.alpha": UP[0, 0]}
    assert to_kohya(tensors) == tensors


@pytest.mark.parametrize(
    "name",
    ["transformer.single_blocks.0.attn.to_q.lora_A.weight", "unet.conv_3.lora_A.weight",
     "base_model.model.text_model.encoder.layers.3.self_attn.q_proj.lora_A.weight",
     f"unet.{DIFFUSERS}.weight", "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight"],
)  # fmt: skip
def test_what_is_no_sdxl_lora_is_refused_by_name(name):
    with pytest.raises(ValueError, match="1 of 3 keys are of no SDXL LoRA"):
        to_kohya({**pair(*FORMS["diffusers"]), name: UP})


def test_nothing_is_no_lora():
    with pytest.raises(ValueError, match="no SDXL LoRA"):
        to_kohya({})


def test_written_for_diffusers_the_scale_is_in_the_up_factors():
    tensors = {**kohya(KOHYA, torch.tensor(6.0)), **kohya(f"lora_te2_{ENCODER}", torch.tensor(2.0))}
    found = to_diffusers_lora(tensors)
    layer, encoder = f"unet.{DIFFUSERS}", f"text_encoder_2.{ENCODER_PATH}"
    assert found.keys() == {f"{s}.lora_{f}.weight" for s in (layer, encoder) for f in "AB"}
    assert torch.equal(found[f"{layer}.lora_A.weight"], DOWN)
    assert torch.equal(found[f"{layer}.lora_B.weight"], UP * 3)
    assert torch.equal(found[f"{encoder}.lora_B.weight"], UP)


def test_there_and_back_changes_the_same_weights():
    back = to_kohya(to_diffusers_lora(kohya(KOHYA, torch.tensor(0.5))))
    before, after = UP @ DOWN * (0.5 / 2), back[f"{KOHYA}.lora_up.weight"] @ DOWN
    assert torch.equal(before, after * float(back[f"{KOHYA}.alpha"]) / 2)


def test_other_kinds_and_layers_are_not_written_for_diffusers():
    with pytest.raises(ValueError, match="another kind than plain LoRA"):
        to_diffusers_lora({f"{KOHYA}.hada_w1_a": UP})
    with pytest.raises(ValueError, match="name in diffusers"):
        to_diffusers_lora(kohya("lora_te1_something", torch.tensor(1.0)))


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_numbers_of_8_bits_are_written_for_diffusers(dtype):
    lora = {name: torch.as_tensor(value).to(dtype) for name, value in kohya(KOHYA, 1.0).items()}
    found = to_diffusers_lora(lora)
    assert torch.equal(found[f"unet.{DIFFUSERS}.lora_B.weight"].float(), UP.to(dtype).float() / 2)
