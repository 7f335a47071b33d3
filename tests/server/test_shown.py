"""What Train shows on a real server: previews at several strengths, and what the model saw."""

import pytest
from PIL import Image

from pack.tests.server import graphs

pytestmark = pytest.mark.slow


def test_a_grid_of_strengths_and_the_first_batch_come_out(server, example, dataset, object_info):
    prompt = graphs.small(example("train_and_preview"), "shown")
    settings = graphs.inputs(prompt, "LoraLoopPreviewSettings")
    settings.update(prompts="one\ntwo", every=1, strengths="0, 0.5, 1")
    train = graphs.key(prompt, "LoraLoopTrain")
    graphs.inputs(prompt, "LoraLoopTrain").update(steps=2, batch_size=2)
    outputs = object_info["LoraLoopTrain"]["output_name"]
    for name, node in (("previews", "sheets"), ("seen", "first batch")):
        link = [train, outputs.index(name)]
        graphs.add(prompt, object_info, node, "SaveImage", images=link, filename_prefix=node)
    text = [train, outputs.index("seen_captions")]
    graphs.add(prompt, object_info, "texts", "PreviewAny", source=text)
    entry = server.run(graphs.keep(prompt, "sheets", "first batch", "texts"))

    shown = [image["filename"] for image in entry["outputs"][train]["lora_loop"][0]["previews"]]
    levels = ("_strength0", "_strength0.5", "")
    assert shown == [
        f"step{step:08}_{p}{level}.png" for step in (1, 2) for p in (0, 1) for level in levels
    ]
    sheets = server.outputs(entry, "sheets")
    assert len(sheets) == 2  # one per prompt
    with Image.open(sheets[0]) as sheet:
        assert sheet.width > 3 * 64 and sheet.height > 2 * 64
    (texts,) = entry["outputs"]["texts"]["text"]
    assert len(server.outputs(entry, "first batch")) == 2 == len(texts.split("\n\n"))
    assert "bucket" in texts
