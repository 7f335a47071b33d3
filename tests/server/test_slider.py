"""The template of a slider, without its comparison: trained without images, previewed, saved, and it goes on."""

import json

from pack.tests.server import graphs


def test_one_graph(server, example):
    prompt, known = graphs.small(example("slider"), "slider"), graphs.results(server)
    graphs.inputs(prompt, "LoraLoopPreviewSettings").update(every=2, steps=1)
    graphs.inputs(prompt, "LoraLoopSaveLora")["name"] = "server_slider"
    train, shown, save = (
        graphs.key(prompt, kind)
        for kind in ("LoraLoopTrainSlider", "PreviewImage", "LoraLoopSaveLora")
    )
    prompt = graphs.keep(prompt, shown, save)
    entry = server.run(prompt)
    loras = server.base_directory / "models" / "loras"
    assert list(loras.rglob("server_slider*.safetensors"))
    assert "trained 2 steps" in json.dumps(entry["outputs"][train])
    (result,) = graphs.results(server).keys() - known.keys()
    assert len(list((result.parent / "previews").glob("step00000002_*.png"))) == 3
    assert len(server.outputs(entry, shown)) == 1
    prompt[train]["inputs"]["steps"] = 3
    server.run(prompt)
    assert "goes on after step 2" in (result.parent / "run.log").read_text("utf-8")
