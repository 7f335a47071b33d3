"""ComfyUI's own training nodes take what Train makes."""

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from pack.tests.server import graphs


@pytest.fixture
def prompt(request, example, dataset):
    return graphs.small(example("train_and_preview"), request.node.name)


@pytest.mark.old_host
def test_load_lora_model_does_what_apply_lora_does(server, prompt, object_info):
    lora = [graphs.key(prompt, "LoraLoopTrain"), 0]
    model = [graphs.key(prompt, "CheckpointLoaderSimple"), 0]
    graphs.inputs(prompt, "KSampler", "before")["model"] = graphs.add(
        prompt, object_info, "core", "LoraModelLoader", model=model, lora=lora, strength_model=0.8
    )
    out = graphs.key(prompt, "SaveImage", "before")
    (path,) = server.outputs(server.run(graphs.keep(prompt, out)), out)
    pixels = np.asarray(Image.open(path))
    assert np.array_equal(pixels[:, :64], pixels[:, -64:])


def test_save_lora_writes_the_tensors_of_the_run(server, prompt, object_info):
    lora = [graphs.key(prompt, "LoraLoopTrain"), 0]
    name = "SaveLoRA" if "SaveLoRA" in object_info else "SaveLoRANode"  # the latter up to 0.3.x
    graphs.add(prompt, object_info, "core", name, lora=lora, prefix="core/lora", steps=2)
    known = graphs.results(server)
    server.run(graphs.keep(prompt, "core"))
    (path,) = (server.base_directory / "output" / "core").glob("lora_2_steps_*.safetensors")
    (own,) = graphs.results(server).keys() - known.keys()
    saved, ours = load_file(path), load_file(own)
    assert saved.keys() == ours.keys()
    assert all(np.array_equal(saved[name], ours[name]) for name in ours)
    assert any(np.abs(value).max() > 0 for name, value in ours.items() if "lora_up" in name)


def test_loss_graph_draws_our_losses(server, prompt, object_info):
    loss = [graphs.key(prompt, "LoraLoopTrain"), 2]
    graphs.add(prompt, object_info, "core", "LossGraphNode", loss=loss, filename_prefix="graph")
    entry = server.run(graphs.keep(prompt, "core"))
    (path,) = server.outputs(entry, "core")
    assert path.is_file()


@pytest.mark.old_host
def test_best_and_the_validations_go_on_to_other_nodes(server, prompt, object_info):
    train = graphs.key(prompt, "LoraLoopTrain")
    settings = graphs.add(
        prompt, object_info, "validation", "LoraLoopValidationSettings",
        held_out=1, every=1, keep_best=True,
    )  # fmt: skip
    prompt[train]["inputs"]["validation_settings"] = settings
    best = object_info["LoraLoopTrain"]["output_name"].index("best")
    graphs.add(prompt, object_info, "save", "LoraLoopSaveLora", lora=[train, best], name="best_one")
    graphs.add(
        prompt, object_info, "core", "LossGraphNode", loss=[train, 2], filename_prefix="graph"
    )
    known = graphs.results(server)
    entry = server.run(graphs.keep(prompt, "save", "core", graphs.key(prompt, "SaveImage", "loss")))
    new = [path.name for path in graphs.results(server).keys() - known.keys()]
    assert any(name.startswith("best-") for name in new)
    assert list((server.base_directory / "models" / "loras").rglob("best_one*.safetensors"))
    (path,) = server.outputs(entry, "core")
    assert path.is_file()
