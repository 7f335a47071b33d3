"""Datasets as values of a graph: merged, made of lists and turned into them, exported."""

import numpy as np
import pytest
from PIL import Image

from pack.demo.base import DATASET
from pack.tests.server import graphs

CORE_LOADER = "LoadImageTextDataSetFromFolder"


@pytest.fixture
def pngs(dataset):
    """The example folder with its lossless images only, and a caption for each."""
    for path in dataset.iterdir():
        if path.suffix == ".png":
            path.with_suffix(".txt").write_text(f"caption of {path.stem}", "utf-8")
        else:
            path.unlink()
    return dataset


def texts(entry, node_id):
    return entry["outputs"][node_id]["text"]


def test_comfyuis_own_dataset_nodes_in_and_out(server, object_info, pngs):
    if CORE_LOADER not in object_info:
        pytest.skip(f"this ComfyUI has no {CORE_LOADER}")
    prompt = {}
    images = graphs.add(prompt, object_info, "load", CORE_LOADER, folder=DATASET)
    graphs.add(
        prompt,
        object_info,
        "from",
        "LoraLoopDatasetFromImages",
        images=images,
        captions=["load", 1],
    )
    back = graphs.add(prompt, object_info, "to", "LoraLoopDatasetToImages", dataset=["from", 0])
    graphs.add(prompt, object_info, "show", "PreviewImage", images=back)
    graphs.add(prompt, object_info, "captions", "PreviewAny", source=["to", 1])
    entry = server.run(prompt)
    shown = {np.asarray(Image.open(path)).tobytes() for path in server.outputs(entry, "show")}
    assert shown == {
        np.asarray(Image.open(path).convert("RGB")).tobytes() for path in pngs.glob("*.png")
    }
    captions = "".join(texts(entry, "captions"))
    assert all(f"caption of {path.stem}" in captions for path in pngs.glob("*.png"))
    assert "2 images in 1 folder(s)" in texts(entry, "from")[0]


def test_merged_datasets_with_options_train(server, object_info, example, pngs, request):
    """Two branches of one folder, one with shuffled captions, at two resolutions."""
    prompt = graphs.small(example("train_and_preview"), request.node.name)
    load = [graphs.key(prompt, "LoraLoopLoadDataset"), 0]
    captions = graphs.add(
        prompt, object_info, "words", "LoraLoopCaptionSettings", shuffle=True, keep_tokens=1
    )
    other = graphs.add(
        prompt,
        object_info,
        "options",
        "LoraLoopDatasetOptions",
        dataset=load,
        repeats=3,
        flip="on",
        caption_settings=captions,
    )
    merged = graphs.add(
        prompt, object_info, "merge", "LoraLoopMergeDatasets", dataset_1=load, dataset_2=other
    )
    cache = graphs.inputs(prompt, "LoraLoopCacheLatents")
    cache.update(dataset=merged, more_resolutions="96, 32")
    train = graphs.inputs(prompt, "LoraLoopTrain")
    train["clip"] = [graphs.key(prompt, "CheckpointLoaderSimple"), 1]
    entry = server.run(graphs.training_only(prompt))
    report = texts(entry, graphs.key(prompt, "LoraLoopCacheLatents"))[0]
    assert report.startswith("4 images at 3 resolutions")
    assert "trained 2 steps" in texts(entry, graphs.key(prompt, "LoraLoopTrain"))[0]
    merge = texts(entry, "merge")[0]
    assert "2 x 1" in merge and "2 x 3" in merge


@pytest.mark.old_host
def test_an_export_is_a_folder_that_load_dataset_reads(server, object_info, pngs):
    prompt = {}
    load = graphs.add(prompt, object_info, "load", "LoraLoopLoadDataset", folder=DATASET, repeats=4)
    graphs.add(prompt, object_info, "export", "LoraLoopExportDataset", dataset=load, name="mine")
    entry = server.run(prompt)
    exports = server.base_directory / "output" / "lora_loop" / "exports"
    newest = max(exports.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert str(newest) in texts(entry, "export")[0]
    graphs.inputs(prompt, "LoraLoopLoadDataset")["folder"] = str(newest / "img")
    again = server.run(graphs.keep(prompt, "export"))
    assert f"4_{DATASET}: 2 x 4" in texts(again, "load")[0]


def test_any_captioner_and_any_segmenter_fit(server, object_info, pngs):
    """Nodes of ComfyUI run for each image of the list; their lists come back as captions and masks."""
    if not {"ImageToMask", "StringConcatenate"} <= object_info.keys():
        pytest.skip("this ComfyUI has no nodes that make texts and masks")
    prompt = {}
    load = graphs.add(prompt, object_info, "load", "LoraLoopLoadDataset", folder=DATASET)
    images = graphs.add(
        prompt, object_info, "to", "LoraLoopDatasetToImages", dataset=load, maximum=0
    )
    text = graphs.add(
        prompt, object_info, "text", "StringConcatenate", string_a=["to", 1], string_b="said"
    )
    mask = graphs.add(prompt, object_info, "mask", "ImageToMask", image=images, channel="red")
    worded = graphs.add(
        prompt, object_info, "words", "LoraLoopSetCaptions", dataset=load, captions=text,
        mode="add a variant",
    )  # fmt: skip
    masked = graphs.add(
        prompt, object_info, "masks", "LoraLoopSetMasks", dataset=worded, masks=mask
    )
    graphs.add(prompt, object_info, "again", "LoraLoopDatasetToImages", dataset=masked)
    graphs.add(prompt, object_info, "captions", "PreviewAny", source=["again", 1])
    graphs.add(prompt, object_info, "report", "PreviewAny", source=["masks", 1])
    entry = server.run(prompt)
    stems = sorted(path.stem for path in pngs.glob("*.png"))
    shown = "".join(texts(entry, "captions"))
    assert all(
        f"caption of {stem}" in shown and f"caption of {stem}said" in shown for stem in stems
    )
    assert f"{len(stems)} masks set" in texts(entry, "report")[0]
