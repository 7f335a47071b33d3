"""A slider is trained without images, previewed, saved and used in one graph, and goes on."""

import json

from pack.tests.server import graphs


def test_one_graph(server, example, object_info):
    prompt = graphs.small(example("train_and_preview"), "slider")
    loader, known = graphs.key(prompt, "CheckpointLoaderSimple"), graphs.results(server)
    previews = graphs.add(
        prompt, object_info, "previews", "LoraLoopPreviewSettings", prompts="a face", every=2,
        width=64, height=64, steps=1, strengths="-1, 1",
    )  # fmt: skip
    lora = graphs.add(
        prompt, object_info, "slider", "LoraLoopTrainSlider", model=[loader, 0], clip=[loader, 1],
        vae=[loader, 2], preview_settings=previews, target="a face", positive="a face, smile",
        negative="a face, frown", steps=2, resolution=64, sampling_steps=2, learning_rate=1e-2,
    )  # fmt: skip
    graphs.add(prompt, object_info, "save", "LoraLoopSaveLora", lora=lora, name="server_slider")
    graphs.add(prompt, object_info, "shown", "PreviewImage", images=["slider", 2])
    prompt = graphs.keep(prompt, "save", "shown")
    entry = server.run(prompt)
    loras = server.base_directory / "models" / "loras"
    assert list(loras.rglob("server_slider*.safetensors"))
    assert "trained 2 steps" in json.dumps(entry["outputs"]["slider"])
    (result,) = graphs.results(server).keys() - known.keys()
    assert len(list((result.parent / "previews").glob("step00000002_*.png"))) == 2
    prompt["slider"]["inputs"]["steps"] = 3
    server.run(prompt)
    assert "goes on after step 2" in (result.parent / "run.log").read_text("utf-8")
