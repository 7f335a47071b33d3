"""The example workflows on the stand-ins: from images to a LoRA and an image.

Unedited, except for the training in the short form of the tests of every day.
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from pack.demo import pictures
from pack.demo.base import dataset_path
from pack.demo.server import NodeError
from pack.tests.server import graphs

pytestmark = pytest.mark.slow

LONGEST = 400.0


# Fewer steps and smaller samples, and a rate that shows in them; all else is as in the example.
SHORT = {
    "LoraLoopTrain": {"steps": 8, "learning_rate": 3e-3},
    "LoraLoopPreviewSettings": {"every": 4, "steps": 3},
    "EmptyLatentImage": {"width": 256, "height": 256},
    "KSampler": {"steps": 4},
}


@pytest.fixture(scope="module", params=["short", pytest.param("unedited", marks=pytest.mark.large)])
def trained(server, root, object_info, request):
    """`train_and_preview` run once: the prompt, its history entry, the websocket's record."""
    folder = dataset_path(server.base_directory)
    for caption in folder.glob("*.txt"):
        caption.unlink()
    pictures.write(folder)
    prompt = graphs.example(root, "train_and_preview", object_info)
    if request.param == "short":
        for node in prompt.values():
            node["inputs"].update(SHORT.get(node["class_type"], {}))
    with graphs.Recorder(server) as record:
        entry = server.run(prompt, timeout=LONGEST)
    return prompt, entry, record


@pytest.fixture(scope="module")
def before_after(server, trained):
    """The two halves of the saved comparison."""
    prompt, entry, _ = trained
    (path,) = server.outputs(entry, graphs.key(prompt, "SaveImage", "before"))
    pixels = np.asarray(Image.open(path).convert("RGB"), np.float32)
    width = graphs.inputs(prompt, "EmptyLatentImage")["width"]
    assert pixels.shape == (width, 2 * width + 8, 3)
    return pixels[:, :width], pixels[:, -width:]


def picture_with(server, prompt, info, lora):
    """The workflow's own image, with the LoRA file through ComfyUI's own loader."""
    sampler = graphs.inputs(prompt, "KSampler", "after")
    model = [graphs.key(prompt, "CheckpointLoaderSimple"), 0]
    sampler["model"] = graphs.add(
        prompt,
        info,
        "loader",
        "LoraLoaderModelOnly",
        model=model,
        lora_name=lora,
        strength_model=0.8,
    )
    decoded = [graphs.key(prompt, "VAEDecode", "after"), 0]
    graphs.add(prompt, info, "save", "SaveImage", images=decoded, filename_prefix="loaded/picture")
    entry = server.run(graphs.keep(prompt, "save"), timeout=LONGEST)
    (path,) = server.outputs(entry, "save")
    return np.asarray(Image.open(path).convert("RGB"), np.float32)


def test_the_lora_is_listed_and_does_the_same_through_comfyuis_loader(
    server, trained, before_after, object_info
):
    prompt, entry, _ = trained
    line, preview = entry["outputs"][graphs.key(prompt, "LoraLoopSaveLora")]["text"]
    path = Path(line.removeprefix("saved "))
    assert f"preview {path.stem}.png: step" in preview and path.with_suffix(".png").exists()
    assert path.parent == server.base_directory / "models" / "loras"
    assert path.name.startswith("lora_loop_example")
    with safe_open(path, "pt") as file:
        assert file.metadata()["ss_network_dim"] == "16"
        assert all(key.startswith("lora_unet_") for key in file.keys())  # noqa: SIM118
    info = server.get("/object_info/LoraLoaderModelOnly")
    assert path.name in str(info["LoraLoaderModelOnly"]["input"]["required"]["lora_name"])
    before, after = before_after
    loaded = picture_with(server, dict(prompt), object_info, path.name)
    # The file holds fp16 and the live LoRA fp32: far closer to after than before is.
    assert np.abs(loaded - after).mean() < 0.05 * np.abs(before - after).mean()


def test_before_and_after_differ(before_after):
    before, after = before_after
    assert np.abs(before - after).mean() > 2.0
    assert before.std() > 2.0 and after.std() > 2.0


def test_the_loss_plot_is_a_picture(server, trained):
    prompt, entry, _ = trained
    (path,) = server.outputs(entry, graphs.key(prompt, "SaveImage", "loss"))
    with Image.open(path) as plot:
        assert plot.size == (512, 256)
        assert len(plot.convert("RGB").getcolors(1 << 20)) > 3


def test_the_previews_are_shown(server, trained):
    prompt, entry, _ = trained
    (told,) = entry["outputs"][graphs.key(prompt, "LoraLoopTrain")]["lora_loop"]
    files = [(one["type"], one["subfolder"], one["filename"]) for one in told["previews"]]
    previews = [server.base_directory.joinpath(*parts) for parts in files]
    assert len(previews) == 2
    with Image.open(previews[0]) as first, Image.open(previews[1]) as last:
        assert first.size == last.size == (512, 512)
        assert first.tobytes() != last.tobytes()


def test_the_trigger_word_reaches_captions_previews_and_picture(server, trained):
    prompt, entry, _ = trained
    train = entry["outputs"][graphs.key(prompt, "LoraLoopTrain")]
    word = graphs.key(prompt, "PrimitiveString")
    cleaned = graphs.inputs(prompt, "LoraLoopFilterTags")["trigger"]
    text = graphs.key(prompt, "StringConcatenate")
    assert cleaned == graphs.inputs(prompt, "StringConcatenate")["string_a"] == [word, 0]
    assert graphs.inputs(prompt, "LoraLoopPreviewSettings")["prompts"] == [text, 0]
    assert prompt[graphs.key(prompt, "CLIPTextEncode", "trigger")]["inputs"]["text"] == [text, 0]
    values = [v for node in prompt.values() for v in node["inputs"].values()]
    assert [v for v in values if isinstance(v, str) and graphs.TRIGGER in v] == [graphs.TRIGGER]
    assert train["lora_loop"][0]["previews"]


def test_progress_tells_step_loss_speed_and_time_left(trained):
    prompt, _, record = trained
    node = graphs.key(prompt, "LoraLoopTrain")
    assert record.complaints == []
    lines = record.steps(node)
    steps = [int(line[1]) for line in lines]
    total = graphs.inputs(prompt, "LoraLoopTrain")["steps"]
    assert {int(line[2]) for line in lines} == {total}
    assert steps == sorted(steps) and steps[-1] == total
    assert lines[-1][5] == "0:00"
    bar = [value for who, value, most in record.bars if who == node and most == total]
    assert bar and bar == sorted(bar)


def test_previews_are_told_of_while_training(trained):
    prompt, _, record = trained
    marks = [mark for told in record.trainings for mark in told.get("marks", ())]
    total = graphs.inputs(prompt, "LoraLoopTrain")["steps"]
    assert {mark["kind"] for mark in marks} == {"preview"}
    assert 0 < marks[0]["step"] < marks[-1]["step"] == total


CAPTIONING = pytest.mark.parametrize("name", ["tag_and_clean_captions", "curate_and_tag"])


def reports(prompt, entry):
    """The texts that the workflow shows, by the titles of their nodes."""
    return {
        prompt[node]["_meta"]["title"]: entry["outputs"][node]["text"][0]
        for node in graphs.keys(prompt, "PreviewAny")
    }


@pytest.mark.old_host
@CAPTIONING
def test_captions_are_tagged_and_cleaned(server, example, dataset, name):
    prompt = example(name)
    entry = server.run(prompt, timeout=LONGEST)
    captions = {path.stem: path.read_text("utf-8") for path in dataset.glob("*.txt")}
    assert captions.keys() == {path.stem for path in dataset.iterdir() if path.suffix != ".txt"}
    trigger = graphs.inputs(prompt, "LoraLoopFilterTags")["trigger"]
    assert all(text.startswith(f"{trigger}, ") for text in captions.values())
    grey = [name for name, text in captions.items() if "greyscale" in text.strip().split(", ")]
    assert grey == ["cameraman"]
    assert all(
        path.is_file()
        for node in graphs.keys(prompt, "PreviewImage")
        for path in server.outputs(entry, node)
    )
    shown = reports(prompt, entry)
    assert all(shown.values())
    assert "8 images tagged" in shown["What the tagger found"]
    assert "8 caption file(s) written" in shown["What was written"]


@pytest.mark.old_host
@CAPTIONING
def test_cleaning_captions_again_changes_none(server, example, dataset, name):
    prompt = example(name)
    server.run(prompt, timeout=LONGEST)
    first = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in dataset.glob("*.txt")}
    entry = server.run(prompt, timeout=LONGEST)
    assert graphs.key(prompt, "LoraLoopLoadDataset") not in graphs.cached(entry)
    again = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in dataset.glob("*.txt")}
    assert first and again == first


@pytest.mark.old_host
def test_of_copies_one_is_kept_and_captioned(server, example, dataset):
    (picture,) = dataset.glob("cat.*")
    copy = dataset / f"cat copy{picture.suffix}"
    copy.write_bytes(picture.read_bytes())
    prompt = example("curate_and_tag")
    entry = server.run(prompt, timeout=LONGEST)
    shown = reports(prompt, entry)
    assert "8 of 9 images kept, 1 left out" in shown["What was found"]
    assert "8 images tagged" in shown["What the tagger found"]
    assert [path.with_suffix(".txt").exists() for path in (picture, copy)].count(True) == 1


MODEL_FILES = {
    "caption_with_a_vlm": ("CLIPLoader", "clip_name", "TextGenerate"),
    "mask_the_subject": ("LoadBackgroundRemovalModel", "bg_removal_name", "RemoveBackground"),
}
"""Of templates that need a model of another kind: its loader, the input that names it, the node that runs it."""


@pytest.mark.parametrize("name", MODEL_FILES)
def test_only_a_models_file_is_missing(server, example, object_info, name):
    loader, field, runs = MODEL_FILES[name]
    if runs not in object_info:
        pytest.skip(f"this ComfyUI has no {runs}")
    prompt = example(name)
    with pytest.raises(NodeError, match=rf"{loader} .*{field}") as caught:
        server.queue(prompt)
    assert [name for name in object_info if f"{name} " in str(caught.value)] == [loader]


def test_captions_of_a_model_are_written_with_the_trigger(server, example, object_info, dataset):
    """A node that gives the same sentence stands in for the language model."""
    if "TextGenerate" not in object_info:
        pytest.skip("this ComfyUI has no TextGenerate")
    prompt = example("caption_with_a_vlm")
    run = graphs.key(prompt, "TextGenerate")
    del prompt[graphs.key(prompt, "CLIPLoader")]
    captions = [graphs.key(prompt, "LoraLoopDatasetToImages"), 1]
    graphs.add(
        prompt, object_info, run, "StringConcatenate",
        string_a=captions, string_b="A robot stands in a field, with a hat.", delimiter="",
    )  # fmt: skip
    entry = server.run(prompt, timeout=LONGEST)
    texts = [path.read_text("utf-8") for path in dataset.glob("*.txt")]
    trigger = graphs.inputs(prompt, "LoraLoopFilterTags")["trigger"]
    assert len(texts) == 8 and all(text.startswith(f"{trigger}, ") for text in texts)
    assert all("A robot stands in a field, with a hat." in text for text in texts)
    assert "8 caption file(s) written" in reports(prompt, entry)["What was written"]


def test_masks_of_a_segmenter_are_trained_with(server, example, object_info, request):
    """The red of each image stands in for what a background remover finds."""
    if "RemoveBackground" not in object_info:
        pytest.skip("this ComfyUI has no RemoveBackground")
    prompt = graphs.small(example("mask_the_subject"), request.node.name)
    run = graphs.key(prompt, "RemoveBackground")
    del prompt[graphs.key(prompt, "LoadBackgroundRemovalModel")]
    images = [graphs.key(prompt, "LoraLoopDatasetToImages"), 0]
    graphs.add(prompt, object_info, run, "ImageToMask", image=images, channel="red")
    entry = server.run(prompt, timeout=LONGEST)
    assert "8 masks set" in reports(prompt, entry)["Masks"]
    assert server.outputs(entry, graphs.key(prompt, "MaskPreview"))
    assert "masked loss: 8 mask(s) from files" in server.tail(200)
