"""A LoRA out to a file and back through ComfyUI's own loaders is the LoRA that was trained."""

import asyncio

import comfy.sd
import comfy.utils
import folder_paths
import pytest
import torch
from comfy_extras import nodes_train

import nodes as comfy_nodes
from pack.nodes.apply_lora import ApplyLora
from pack.nodes.host.lora.apply import apply_lora
from pack.nodes.host.model import unet as host_unet
from pack.nodes.host.model.weights import ComfyWeights
from pack.nodes.host.training import train
from pack.nodes.save_lora import SaveLora
from pack.tests.host import scene
from pack.trainer.config.lora import LoraConfig
from pack.trainer.layers.attach import Attachment, leaf_plan
from pack.trainer.lora_files.file import read_lora, write_lora
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets


@pytest.fixture
def trained(tiny, tmp_path):
    """(result of a short training with convolutions adapted, its request)."""
    cached = scene.cache(tiny, scene.write_pictures(tmp_path / "set"), tmp_path / "cache")
    config = scene.config(steps=6)
    config = type(config)(**{**vars(config), "lora": LoraConfig(4, 2.0, 4, 2.0)})
    request = scene.request(tiny, cached, config)
    with torch.inference_mode():
        result, _ = train.train_lora(request)
    return result


def inputs():
    """x, context, y of the tiny UNet."""
    rng = torch.Generator().manual_seed(5)
    shapes = (1, 4, 8, 8), (1, 77, 48), (1, 32 + 1536)
    return [torch.randn(shape, generator=rng) for shape in shapes]


def answer(model):
    """The UNet's output of a MODEL with its patches in place."""
    import comfy.model_management as mm

    x, context, y = inputs()
    with torch.inference_mode():
        mm.load_models_gpu([model])
        unet = model.model.diffusion_model
        return host_unet.predict(unet, x, torch.tensor([400.0]), context, y).clone()


def live(tiny, lora):
    """The UNet's output with live adapters that hold `lora`."""
    base = answer(tiny.model)
    unet = tiny.model.model.diffusion_model
    network = Network(find_targets(unet, LoraConfig(4, 2.0, 4, 2.0)))
    network.load(lora)
    with Attachment(leaf_plan(unet, network, ComfyWeights())):
        return base, answer(tiny.model)


def test_a_reloaded_lora_gives_the_live_adapters_output(tiny, trained, tmp_path):
    base, expected = live(tiny, trained.lora)
    path = write_lora(tmp_path / "a.safetensors", trained.lora, trained.lora.metadata, "fp32")
    model, _ = comfy.sd.load_lora_for_models(
        tiny.model, None, comfy.utils.load_torch_file(str(path)), 1.0, 0.0
    )
    assert len(model.patches) == len(trained.lora) // 3
    assert (expected - base).abs().max() > 1e-2
    assert (answer(model) - expected).abs().max() <= 2e-5
    assert torch.equal(answer(tiny.model), base)


def test_apply_lora_from_memory(tiny, trained):
    _, expected = live(tiny, trained.lora)
    model, clip = apply_lora(tiny.model, None, trained.lora, 1.0)
    assert clip is None
    assert (answer(model) - expected).abs().max() <= 2e-5


def test_strength_zero_is_the_untouched_model(tiny, trained):
    output = ApplyLora.execute(tiny.model, trained.lora, 0, clip=tiny.clip)
    assert output[0] is tiny.model
    assert output[1] is tiny.clip


def test_the_default_strength(tiny, trained):
    inputs = {field.id: field for field in ApplyLora.define_schema().inputs}
    assert inputs["strength"].default == 0.8


def test_a_lora_of_another_model_is_refused(tiny):
    with pytest.raises(ValueError, match="fits"):
        apply_lora(tiny.model, None, {"lora_unet_nothing.lora_up.weight": torch.zeros(1, 1)}, 0.8)


def test_save_lora_is_listed_and_loads(tiny, trained, base_directory):
    folder_paths.add_model_folder_path("loras", str(base_directory / "models" / "loras"))
    path = SaveLora.execute(trained.lora, "mine/test", "fp16", "number", False)[0]
    assert "mine/test.safetensors" in [
        name.replace("\\", "/") for name in folder_paths.get_filename_list("loras")
    ]
    assert SaveLora.execute(trained.lora, "mine/test", "fp16", "number", False)[0] == path
    model, _ = comfy_nodes.LoraLoader().load_lora(
        tiny.model, tiny.clip, "mine/test.safetensors", 1.0, 1.0
    )
    assert len(model.patches) == len(trained.lora) // 3
    metadata = read_lora(path).metadata
    assert metadata["ss_network_dim"] == "4"
    assert metadata["ss_base_model_version"] == "sdxl_base_v1-0"


def test_cores_own_nodes_take_it(tiny, trained, base_directory):
    model = run_core("LoraModelLoader", tiny.model, trained.lora, 1.0)[0]
    assert (answer(model) - live(tiny, trained.lora)[1]).abs().max() <= 2e-5
    folder_paths.set_output_directory(str(base_directory / "output"))
    run_core("SaveLoRA", trained.lora, "loras/core", 6)
    [saved] = (base_directory / "output" / "loras").glob("core*.safetensors")
    assert read_lora(saved).keys() == trained.lora.keys()


def run_core(name, *inputs):
    """Execute one of ComfyUI's training nodes, which are of the older kind up to 0.3.x."""
    if hasattr(nodes_train, "NODE_CLASS_MAPPINGS"):
        known = nodes_train.NODE_CLASS_MAPPINGS
        node = known.get(name, known.get(f"{name}Node"))()
        return getattr(node, node.FUNCTION)(*inputs)

    async def listed():
        extension = await nodes_train.comfy_entrypoint()
        return await extension.get_node_list()

    [node] = [node for node in asyncio.run(listed()) if node.GET_SCHEMA().node_id == name]
    return node.execute(*inputs)
