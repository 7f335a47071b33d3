"""Our LoRA in other programs: on one tiny SDXL the same UNet output as our live adapters give."""

import os
import sys

import comfy.sd
import comfy.utils
import pytest
import torch
from safetensors.torch import save_file

from pack.nodes.host.model.weights import ComfyWeights
from pack.tests.host.lora.test_lora_out import answer, inputs
from pack.trainer.config.lora import LoraConfig
from pack.trainer.layers.attach import Attachment, leaf_plan
from pack.trainer.lora_files.file import write_lora
from pack.trainer.lora_files.formats import in_format, to_kohya
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets

BOUND = 2e-5
SD_SCRIPTS = os.environ.get("SD_SCRIPTS_PATH")
"""A checkout of kohya's sd-scripts."""

NETWORKS = {
    "linear": LoraConfig(rank=4, alpha=2.0),
    "convolutions": LoraConfig(rank=4, alpha=2.0, conv_rank=3, conv_alpha=1.0),
    "rsLoRA": LoraConfig(rank=4, alpha=2.0, rank_stabilised=True),
    "blocks": LoraConfig(
        block_ranks=(1, *range(1, 22), 1), block_alphas=(1.0, *(0.5 * n for n in range(1, 22)), 1.0)
    ),
}


@pytest.fixture(params=NETWORKS)
def settings(request):
    return NETWORKS[request.param]


@pytest.fixture
def unet(tiny):
    return tiny.model.model.diffusion_model


@pytest.fixture
def network(unet, settings):
    """Adapters that change much: up factors are not 0."""
    network = Network(find_targets(unet, settings), seed=3)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        for adapter in network.adapters.values():
            adapter.up.copy_(0.5 * torch.randn_like(adapter.up))
    return network


@pytest.fixture
def live(tiny, unet, network):
    """The UNet's output with the live adapters."""
    base = answer(tiny.model)
    with Attachment(leaf_plan(unet, network, ComfyWeights())):
        found = answer(tiny.model)
    assert (found - base).abs().max() > 1e-2
    return found


@pytest.fixture(scope="module")
def make_diffusers():
    """diffusers' UNet with the geometry and weights of the tiny one."""
    diffusers = pytest.importorskip("diffusers")
    pytest.importorskip("peft")

    def make(tiny):
        config = tiny.model.model.model_config.unet_config
        made = diffusers.UNet2DConditionModel(
            sample_size=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(64, 64, 128),
            transformer_layers_per_block=(1, 1, 2),
            attention_head_dim=(4, 4, 8),  # heads, in spite of its name
            cross_attention_dim=48,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=32 + 6 * 256,
        )
        names = comfy.utils.unet_to_diffusers(config)
        own = tiny.model.model.diffusion_model.state_dict()
        made.load_state_dict({name: own[names[name]].float() for name in made.state_dict()})
        return made.eval()

    return make


def diffusers_answer(unet):
    """The output for the same inputs; y is the pooled text and the embedded sizes."""
    x, context, y = inputs()
    with torch.no_grad():
        embedded = unet.add_embedding(y)
        unet.get_aug_embed = lambda **_: embedded
        return unet(x, torch.tensor([400.0]), context, added_cond_kwargs={}).sample


def load_into_diffusers(unet, path):
    """As a pipeline does it; gives a fresh file's every layer an adapter."""
    from diffusers.loaders.lora_pipeline import StableDiffusionXLLoraLoaderMixin as Loader

    state, alphas = Loader.lora_state_dict(str(path), unet_config=unet.config)
    Loader.load_lora_into_unet(state, alphas, unet)
    return sum(hasattr(module, "lora_A") for module in unet.modules())


def test_diffusers_has_the_same_base_model(tiny, make_diffusers):
    assert (diffusers_answer(make_diffusers(tiny)) - answer(tiny.model)).abs().max() <= BOUND


def test_comfyui_gives_the_live_output(tiny, network, live, tmp_path):
    path = write_lora(tmp_path / "a.safetensors", network.state_dict(), {}, "fp32")
    model, _ = comfy.sd.load_lora_for_models(
        tiny.model, None, comfy.utils.load_torch_file(str(path)), 1.0, 0.0
    )
    assert len(model.patches) == len(network.targets)
    assert (answer(model) - live).abs().max() <= BOUND


@pytest.fixture(params=["kohya", "diffusers"])
def in_diffusers(tiny, network, settings, request, make_diffusers, tmp_path):
    """diffusers' UNet with our file in it."""
    if request.param == "kohya" and settings.block_alphas:
        pytest.skip("diffusers 0.42 loses alphas of kohya files that differ from layer to layer")
    path = tmp_path / "a.safetensors"
    write_lora(path, in_format(network.state_dict(), request.param), {}, "fp32")
    unet = make_diffusers(tiny)
    assert load_into_diffusers(unet, path) == len(network.targets)
    return unet


@pytest.mark.main_host
def test_diffusers_with_peft_gives_the_live_output(in_diffusers, live):
    assert (diffusers_answer(in_diffusers) - live).abs().max() <= BOUND


@pytest.mark.main_host
def test_what_peft_saves_of_it_is_read_as_the_same_lora(in_diffusers, network):
    """Out of diffusers' UNet again by peft, with its config."""
    from peft.utils import get_peft_model_state_dict

    (name,) = in_diffusers.peft_config
    state = get_peft_model_state_dict(in_diffusers, adapter_name=name)
    peft = {f"base_model.model.{key}": value for key, value in state.items()}
    found = to_kohya(peft, config=in_diffusers.peft_config[name].to_dict())
    expected = network.state_dict()
    assert found.keys() == expected.keys()
    for key in network.adapters:
        assert torch.allclose(scaled_up(found, key), scaled_up(expected, key), rtol=1e-5)
        down = f"{key}.lora_down.weight"
        assert torch.equal(found[down], expected[down])


def scaled_up(tensors, key):
    up, alpha = tensors[f"{key}.lora_up.weight"], tensors[f"{key}.alpha"]
    return up * (alpha / up.shape[1])


@pytest.mark.skipif(not SD_SCRIPTS, reason="SD_SCRIPTS_PATH names no checkout of sd-scripts")
def test_kohyas_own_loader_gives_the_live_output(tiny, unet, network, live, tmp_path, monkeypatch):
    """Its network on the same layers: only the names of the classes around them are ComfyUI's."""
    monkeypatch.setattr(sys, "path", [SD_SCRIPTS, *sys.path])
    from networks import lora as kohya

    monkeypatch.setattr(kohya.LoRANetwork, "UNET_TARGET_REPLACE_MODULE", ["SpatialTransformer"])
    convs = ["ResBlock", "Downsample", "Upsample"]
    monkeypatch.setattr(kohya.LoRANetwork, "UNET_TARGET_REPLACE_MODULE_CONV2D_3X3", convs)
    save_file(network.state_dict(), tmp_path / "a.safetensors")
    path = str(tmp_path / "a.safetensors")
    theirs, weights = kohya.create_network_from_weights(1.0, path, None, [], unet)
    before = {name: module.__dict__.get("forward") for name, module in unet.named_modules()}
    theirs.apply_to([], unet, apply_text_encoder=False, apply_unet=True)
    try:
        info = theirs.load_state_dict(weights, strict=True)
        assert not info.missing_keys and len(theirs.unet_loras) == len(network.targets)
        found = answer(tiny.model)
    finally:
        for name, module in unet.named_modules():
            if before.get(name) is None:
                module.__dict__.pop("forward", None)
    assert (found - live).abs().max() <= BOUND
