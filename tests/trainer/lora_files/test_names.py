"""Every spelling of layers and parts that is met in LoRA files is read, or the file is refused by name."""

import pytest
import torch

from pack.trainer.lora_files.formats import to_kohya
from pack.trainer.lora_files.names import PARTS, read_key

LINEAR = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"
OUT = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_out_0"
DIFFUSERS = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
ENCODER = "text_model.encoder.layers.3.self_attn.q_proj"
TENSOR = torch.ones(2, 2)


def only(name, tensor=None):
    """What a file of one key is read as, without the alpha that it gets."""
    if tensor is None:  # cores and blocks have three axes or more
        has_core = name.endswith(("t1", "t2", "oft_blocks", "lora_mid.weight"))
        tensor = torch.ones([1] * (3 if has_core else 2))
    found = to_kohya({name: tensor})
    return [key for key in found if not key.endswith(".alpha") or name.endswith(".alpha")]


UNET_PATHS = {
    "lora_unet_conv_in": "input_blocks_0_0",
    "lora_unet_time_embedding_linear_1": "time_embed_0",
    "lora_unet_time_embed_2": "time_embed_2",
    "lora_unet_add_embedding_linear_2": "label_emb_0_2",
    "lora_unet_label_emb_0_0": "label_emb_0_0",
    "unet.conv_out": "out_2",
    "unet.out.2": "out_2",
    "unet.input_blocks.1.0.in_layers.2": "input_blocks_1_0_in_layers_2",
    "unet.input_blocks.4.1.proj_in": "input_blocks_4_1_proj_in",
    "lora_unet.down_blocks.0.resnets.0.conv1": "input_blocks_1_0_in_layers_2",
    "lycoris_down_blocks_1_attentions_0_proj_in": "input_blocks_4_1_proj_in",
    "lycoris_unet_mid_block_attentions_0_proj_in": "middle_block_1_proj_in",
    "base_model.model.conv_in": "input_blocks_0_0",
    "unet.base_model.model.mid_block.attentions.0.proj_in": "middle_block_1_proj_in",
    "base_model.model.unet.mid_block.attentions.0.proj_in": "middle_block_1_proj_in",
    "model.diffusion_model.out.0": "out_0",
    "diffusion_model.time_embed.0": "time_embed_0",
    "time_embedding.linear_2": "time_embed_2",
    f"unet.{DIFFUSERS}.processor.to_q": LINEAR.removeprefix("lora_unet_"),
    f"unet.{DIFFUSERS}.processor.to_out": OUT.removeprefix("lora_unet_"),
    f"{DIFFUSERS}.to_out": OUT.removeprefix("lora_unet_"),
}
ENCODER_PREFIXES = {
    "lora_te_": "1", "lora_te1_": "1", "lora_te1.": "1", "text_encoder.": "1", "clip_l.": "1",
    "clip_l.transformer.": "1", "text_encoders.clip_l.transformer.": "1",
    "base_model.model.text_encoder.": "1", "text_encoder.base_model.model.": "1",
    "lora_te2_": "2", "lora_te2.": "2", "text_encoder_2.": "2", "clip_g.": "2",
    "clip_g.transformer.": "2", "text_encoders.clip_g.transformer.": "2", "lora_prior_te_": "2",
}  # fmt: skip
LAYERS = {
    ENCODER: "text_model_encoder_layers_3_self_attn_q_proj",
    "encoder.layers.3.mlp.fc2": "text_model_encoder_layers_3_mlp_fc2",
    "text_model.encoder.layers.3.self_attn.to_out": "text_model_encoder_layers_3_self_attn_out_proj",
    "text_model.encoder.layers.3.layer_norm2": "text_model_encoder_layers_3_layer_norm2",
    "text_model.final_layer_norm": "text_model_final_layer_norm",
    "text_model.embeddings.token_embedding": "text_model_embeddings_token_embedding",
    "text_projection": "text_projection",
}


@pytest.mark.parametrize("path", UNET_PATHS)
@pytest.mark.parametrize("part", ["lora_up.weight", "dora_scale", "alpha", "hada_w1_a", "diff"])
def test_layers_of_the_unet(path, part):
    assert only(f"{path}.{part}") == [f"lora_unet_{UNET_PATHS[path]}.{part}"]


@pytest.mark.parametrize("prefix", ENCODER_PREFIXES)
@pytest.mark.parametrize("layer", LAYERS)
def test_layers_of_the_text_encoders(prefix, layer):
    path = layer.replace(".", "_") if prefix.endswith("_") else layer
    stem = f"lora_te{ENCODER_PREFIXES[prefix]}_{LAYERS[layer]}"
    assert only(f"{prefix}{path}.lora_up.weight") == [f"{stem}.lora_up.weight"]


SPELLINGS = {
    ".lora_down.weight": "lora_down.weight",
    ".lora_A.weight": "lora_down.weight",
    ".lora_A": "lora_down.weight",
    ".lora_A.default.weight": "lora_down.weight",
    ".lora_A.default_0.weight": "lora_down.weight",
    ".lora_A.my-style.weight": "lora_down.weight",
    ".lora.down.weight": "lora_down.weight",
    "_lora.down.weight": "lora_down.weight",
    ".lora_linear_layer.down.weight": "lora_down.weight",
    ".lora_up.weight": "lora_up.weight",
    ".lora_B.weight": "lora_up.weight",
    ".lora_B": "lora_up.weight",
    ".lora_B.default.weight": "lora_up.weight",
    ".lora.up.weight": "lora_up.weight",
    "_lora.up.weight": "lora_up.weight",
    ".lora_linear_layer.up.weight": "lora_up.weight",
    ".lora_magnitude_vector": "dora_scale",
    ".lora_magnitude_vector.weight": "dora_scale",
    ".lora_magnitude_vector.default": "dora_scale",
    ".lora_magnitude_vector.default.weight": "dora_scale",
    ".bias.diff": "diff_b",
    **{f".{part}": part for part in PARTS},
}


@pytest.mark.parametrize("ending", SPELLINGS)
@pytest.mark.parametrize("path", [f"unet.{DIFFUSERS}.to_q", LINEAR, f"{DIFFUSERS}.processor.to_q"])
def test_parts(path, ending):
    assert only(path + ending) == [f"{LINEAR}.{SPELLINGS[ending]}"]


@pytest.mark.parametrize(
    "path",
    ["lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out.0",
     "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1.to_out_0",
     "lora_unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0"],
)  # fmt: skip
@pytest.mark.parametrize("ending", ["dora_scale", "lora_magnitude_vector"])
def test_dots_that_converters_leave_in_dora(path, ending):
    assert only(f"{path}.{ending}", torch.ones(4)) == [f"{OUT}.dora_scale"]


@pytest.mark.parametrize(("shape", "column"), [([4], [4, 1]), ([1, 4, 1, 1], [4, 1, 1, 1])])
def test_pefts_magnitude_says_that_it_is_of_rows(shape, column, caplog):
    found = to_kohya(
        {f"unet.{DIFFUSERS}.to_q.lora_magnitude_vector": torch.arange(4.0).view(shape)}
    )
    assert list(found[f"{LINEAR}.dora_scale"].shape) == column
    assert found[f"{LINEAR}.dora_scale"].flatten().tolist() == [0, 1, 2, 3]
    assert "DoRA of peft" in caplog.text


COMPANY = [
    "bundle_emb.cat.clip_l", "bundle_emb.cat.clip_g", "bundle_emb.cat.string_to_param.*", "emb_params",
    "string_to_param.*", "clip_l", "clip_g", "bundle_emb.odd.alpha", "__index__",
]  # fmt: skip


@pytest.mark.parametrize("extra", COMPANY)
def test_embeddings_and_other_company_are_left_out_and_named(extra, caplog):
    lora = {f"{LINEAR}.lora_up.weight": TENSOR, f"{LINEAR}.lora_down.weight": TENSOR}
    found = to_kohya({**lora, extra: TENSOR})
    assert found.keys() == {*lora, f"{LINEAR}.alpha"}
    named = extra.split(".")[1] if extra.startswith("bundle_emb.") else extra
    assert named in caplog.text and "left out" in caplog.text
    with pytest.raises(ValueError, match="no SDXL LoRA"):
        to_kohya({extra: TENSOR})


UNREADABLE = [
    f"{LINEAR}.weight", f"{LINEAR}.on_input", f"unet.{DIFFUSERS}.to_q.lora_B.bias",
    f"unet.{DIFFUSERS}.to_q.lora_E", f"base_model.model.{DIFFUSERS}.to_q.oft_R.default.weight",
    "lora_unet_input_blocks_4_1_proj_in_2.lora_up.weight", "oft_unet_input_blocks_4_1_proj_in.oft_blocks",
    "lora_te3_encoder_block_0_layer_0_SelfAttention_q.lora_up.weight", "foo.lora_up.weight",
    "diffusion_model.out.2.bias.set_weight", "lllite_unet_input_blocks_4_1.down.0.weight",
    "unet.encoder_hid_proj.weight",
]  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_named_and_never_dropped(name):
    lora = {f"{LINEAR}.lora_up.weight": TENSOR, f"{LINEAR}.lora_down.weight": TENSOR}
    with pytest.raises(ValueError, match="1 of 3 keys are of no SDXL LoRA") as error:
        to_kohya({**lora, name: TENSOR})
    assert name in str(error.value)


def test_two_adapters_in_a_file_are_not_mixed():
    names = [f"unet.{DIFFUSERS}.to_q.lora_A.{name}.weight" for name in ("one", "two")]
    with pytest.raises(ValueError, match="more than one adapter"):
        to_kohya(dict.fromkeys(names, TENSOR))


ARCHITECTURES = {
    "Stable Diffusion 1 or 2": [
        "lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight",
        "lora_unet_up_blocks_3_resnets_0_conv1.lora_up.weight",
        "unet.down_blocks.3.resnets.0.conv1.lora_B.weight",
        "diffusion_model.input_blocks.1.1.proj_in.lora_up.weight",
        "diffusion_model.output_blocks.11.0.in_layers.2.diff",
    ],
    "Flux": [
        "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight",
        "lora_unet_single_blocks_3_linear1.alpha",
        "transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight",
        "lora_transformer_single_transformer_blocks_0_attn_to_q.lora_up.weight",
        "diffusion_model.double_blocks.0.img_attn.proj.diff_b",
    ],
    "Stable Diffusion 3": [
        "lora_unet_joint_blocks_0_context_block_attn_qkv.lora_up.weight",
        "transformer.transformer_blocks.0.attn.add_q_proj.lora_A.weight",
    ],
    "Qwen-Image": ["transformer.transformer_blocks.0.img_mlp.net.2.lora_A.weight"],
    "Wan": [
        "diffusion_model.blocks.0.self_attn.q.lora_A.weight",
        "lora_unet_blocks_0_cross_attn_k.lora_down.weight",
        "blocks.0.ffn.0.lora_A.default.weight",
    ],
    "Z-Image or Lumina": ["diffusion_model.layers.0.attention.to_q.lora_A.weight"],
    "Stable Cascade": ["lora_prior_unet_down_blocks_0_0_channelwise_0.lora_up.weight"],
    "LTX": ["diffusion_model.transformer_blocks.0.attn1.to_q.lora_A.weight"],
    "HiDream": ["diffusion_model.double_stream_blocks.0.block.attn1.to_q.lora_A.weight"],
    "Cosmos or Anima": ["lora_unet_blocks_0_self_attn_q_proj.lora_down.weight"],
}


@pytest.mark.parametrize(
    ("architecture", "name"),
    [(architecture, name) for architecture, names in ARCHITECTURES.items() for name in names],
)
def test_other_architectures_are_named(architecture, name):
    with pytest.raises(ValueError, match=f"no SDXL LoRA .*They are of {architecture}"):
        to_kohya({name: TENSOR})


@pytest.mark.parametrize(
    ("width", "architecture"),
    [(768, "Stable Diffusion 1"), (1024, "Stable Diffusion 2"), (1280, "refiner")],
)
def test_unets_with_the_same_names_are_told_apart_by_their_text(width, architecture):
    layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
    lora = {f"{layer}.lora_down.weight": torch.ones(2, width), f"{layer}.lora_up.weight": TENSOR}
    with pytest.raises(ValueError, match=f"for .*{architecture}.*no SDXL LoRA"):
        to_kohya(lora)
    assert to_kohya({**lora, f"{layer}.lora_down.weight": torch.ones(2, 2048)})


def test_the_metadata_name_an_architecture_that_nothing_else_shows():
    with pytest.raises(ValueError, match="The metadata say kandinsky-5"):
        to_kohya({"visual.0.lora_up.weight": TENSOR}, {"modelspec.architecture": "kandinsky-5"})
    for ours in ("stable-diffusion-xl-v1-base/lora", "sdxl_base_v1-0"):
        with pytest.raises(ValueError) as error:
            to_kohya({"foo.lora_up.weight": TENSOR}, {"modelspec.architecture": ours})
        assert "metadata say" not in str(error.value)


def test_a_key_of_an_embedding_is_of_no_layer():
    assert not read_key("emb_params").is_known
