"""An embedding is trained, previewed, saved and used in one graph, and goes on."""

import json

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from pack.tests.server import graphs

NAME = "server_embedding"


@pytest.fixture
def prompt(request, example, dataset, object_info):
    """The smallest loop with an embedding in place of the LoRA; its prompt goes through Save Embedding."""
    prompt = graphs.small(example("train_and_preview"), request.node.name)
    train = graphs.inputs(prompt, "LoraLoopTrain")
    clip = [graphs.key(prompt, "CheckpointLoaderSimple"), 1]
    train["embedding_settings"] = graphs.add(
        prompt, object_info, "settings", "LoraLoopEmbeddingSettings", token=graphs.TRIGGER,
        vectors=2, learning_rate=0.05,
    )  # fmt: skip
    graphs.inputs(prompt, "LoraLoopPreviewSettings").update(every=2, prompts=graphs.TRIGGER)
    lora = [graphs.key(prompt, "LoraLoopTrain"), 0]
    graphs.add(
        prompt, object_info, "save", "LoraLoopSaveEmbedding", lora=lora, clip=clip, name=NAME
    )
    for which, encoder, text in (
        ("before", clip, "a picture"),
        ("after", ["save", 0], f"a picture embedding:{NAME}"),
    ):
        sampler = graphs.inputs(prompt, "KSampler", which)
        sampler["model"] = [graphs.key(prompt, "LoraLoopTrain"), 1]
        sampler["positive"] = graphs.add(
            prompt, object_info, which, "CLIPTextEncode", clip=encoder, text=text
        )
    return graphs.keep(prompt, graphs.key(prompt, "SaveImage", "before"), "save")


@pytest.mark.old_host
def test_one_graph(server, prompt):
    known = graphs.results(server)
    entry = server.run(prompt)
    (path,) = server.outputs(entry, graphs.key(prompt, "SaveImage", "before"))
    pixels = np.asarray(Image.open(path)).astype(int)
    assert np.abs(pixels[:, :64] - pixels[:, -64:]).max() > 2  # equal where no prompt names it
    file = server.base_directory / "models" / "embeddings" / f"{NAME}.safetensors"
    assert {key: value.shape[0] for key, value in load_file(file).items()} == {
        "clip_l": 2, "clip_g": 2,
    }  # fmt: skip
    (result,) = graphs.results(server).keys() - known.keys()
    assert list((result.parent / "previews").glob("step00000002_*.png"))
    assert json.dumps(entry["outputs"]["save"]).count(f"embedding:{NAME}") == 1

    graphs.inputs(prompt, "LoraLoopTrain")["steps"] = 4  # goes on from the end of the first
    server.run(prompt)
    assert graphs.results(server).keys() - known.keys() > {result}
    assert {path.parent for path in graphs.results(server).keys() - known.keys()} == {result.parent}
    assert "goes on after step 2" in (result.parent / "run.log").read_text("utf-8")
    assert file.with_stem(f"{NAME}-2").is_file()
