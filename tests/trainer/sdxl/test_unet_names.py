import pytest
import torch
from torch import nn

from pack.trainer.sdxl.unet_names import from_diffusers, is_checkpoint_name, to_diffusers


@pytest.fixture(scope="module")
def sdxl():
    """diffusers' UNet of SDXL without weights."""
    diffusers = pytest.importorskip("diffusers")
    with torch.device("meta"):
        return diffusers.UNet2DConditionModel(
            sample_size=128,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(320, 640, 1280),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        )


def adapted(unet, *parts):
    """The linear layers and convolutions below modules of these names."""
    return [
        name
        for name, module in unet.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and any(f".{part}." in name for part in parts)
    ]


@pytest.mark.parametrize(
    ("parts", "count"),
    [(("attentions",), 722), (("attentions", "resnets", "upsamplers", "downsamplers"), 788)],
)
def test_every_layer_of_sdxl_has_one_name_of_each_kind(sdxl, parts, count):
    names = adapted(sdxl, *parts)
    ours = [from_diffusers(name) for name in names]
    assert len(names) == len(set(ours)) == count
    assert all(map(is_checkpoint_name, ours))
    assert [to_diffusers(name) for name in ours] == names
    assert [from_diffusers(name.replace(".", "_")) for name in names] == ours


def test_layers_outside_of_the_blocks_and_norms_have_names_too(sdxl):
    names = [name for name, module in sdxl.named_modules() if hasattr(module, "weight")]
    ours = [from_diffusers(name) for name in names]
    assert None not in ours and len(set(ours)) == len(names) > 788
    assert all(map(is_checkpoint_name, ours))
    assert [to_diffusers(name) for name in ours] == names


@pytest.mark.parametrize(
    ("diffusers", "checkpoint"),
    [
        ("conv_in", "input_blocks_0_0"),
        ("conv_norm_out", "out_0"),
        ("conv_out", "out_2"),
        ("time_embedding.linear_1", "time_embed_0"),
        ("time_embedding.linear_2", "time_embed_2"),
        ("add_embedding.linear_1", "label_emb_0_0"),
        ("add_embedding.linear_2", "label_emb_0_2"),
        ("down_blocks.0.resnets.0.norm1", "input_blocks_1_0_in_layers_0"),
        ("up_blocks.0.resnets.1.norm2", "output_blocks_1_0_out_layers_0"),
        ("mid_block.attentions.0.norm", "middle_block_1_norm"),
        ("down_blocks.1.attentions.0.proj_in", "input_blocks_4_1_proj_in"),
        ("down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_out.0",
         "input_blocks_8_1_transformer_blocks_9_attn2_to_out_0"),
        ("mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj",
         "middle_block_1_transformer_blocks_0_ff_net_0_proj"),
        ("mid_block.resnets.1.conv2", "middle_block_2_out_layers_3"),
        ("up_blocks.1.attentions.2.transformer_blocks.1.ff.net.2",
         "output_blocks_5_1_transformer_blocks_1_ff_net_2"),
        ("up_blocks.2.resnets.0.conv_shortcut", "output_blocks_6_0_skip_connection"),
        ("down_blocks.0.downsamplers.0.conv", "input_blocks_3_0_op"),
        ("up_blocks.0.upsamplers.0.conv", "output_blocks_2_2_conv"),
        ("down_blocks.0.resnets.0.time_emb_proj", "input_blocks_1_0_emb_layers_1"),
    ],
)  # fmt: skip
def test_names_that_kohya_and_diffusers_are_known_to_use(diffusers, checkpoint):
    assert from_diffusers(diffusers) == checkpoint
    assert to_diffusers(checkpoint) == diffusers


@pytest.mark.parametrize(
    "name",
    ["conv_in_2", "time_embedding.linear_3", "down_blocks.2.downsamplers.0.conv", "down_blocks.0",
     "up_blocks.2.upsamplers.0.conv", "down_blocks.0.resnets.0.norm3", "transformer.0.attn",
     "down_blocks.1.attentions.0.transformer_blocks.0.attn3.to_q", "up_blocks.0.attentions.0.conv"],
)  # fmt: skip
def test_other_names_have_no_translation(name):
    assert from_diffusers(name) is None


STABLE_DIFFUSION_1 = {
    "down_blocks.0.attentions.0.proj_in": "input_blocks_1_1_proj_in",
    "down_blocks.3.resnets.0.conv1": "input_blocks_10_0_in_layers_2",
    "down_blocks.2.downsamplers.0.conv": "input_blocks_9_0_op",
    "up_blocks.2.attentions.1.transformer_blocks.0.ff.net.2":
        "output_blocks_7_1_transformer_blocks_0_ff_net_2",
    "up_blocks.3.attentions.0.norm": "output_blocks_9_1_norm",
}  # fmt: skip


@pytest.mark.parametrize("name", STABLE_DIFFUSION_1)
def test_what_only_stable_diffusion_1_and_2_have_is_no_layer_of_sdxl(name):
    assert from_diffusers(name) is None
    assert not is_checkpoint_name(STABLE_DIFFUSION_1[name])


@pytest.mark.parametrize("name", ["time_embed_1", "out_1", "input_blocks_1_0_in_layers_1"])
def test_a_layer_without_a_name_in_diffusers_is_refused(name):
    with pytest.raises(ValueError, match="has a name in diffusers"):
        to_diffusers(name)
