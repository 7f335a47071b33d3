"""Input errors: told in a sentence that says what to do, before any work."""

import json
import os

import pytest

from pack.demo import base as demo_base
from pack.demo import pictures
from pack.demo.prompt import to_prompt
from pack.demo.server import ComfyServer, NodeError
from pack.tests.server import graphs


@pytest.fixture
def prompt(request, example):
    return graphs.small(example("train_and_preview"), request.node.name)


@pytest.mark.old_host
def test_a_missing_folder_is_refused_at_queue(server, prompt):
    graphs.inputs(prompt, "LoraLoopLoadDataset")["folder"] = "no_such_folder"
    with pytest.raises(
        NodeError, match=r"LoraLoopLoadDataset .*no_such_folder does not exist\. Make it"
    ):
        server.queue(prompt)


@pytest.mark.parametrize(
    ("folder", "words"),
    [("", "No dataset folder is given"), ("\\\\host\\share", "network or device path")],
)
def test_an_unusable_folder_is_refused_at_queue(server, prompt, folder, words):
    graphs.inputs(prompt, "LoraLoopLoadDataset")["folder"] = folder
    with pytest.raises(NodeError, match=words):
        server.queue(prompt)


def test_a_folder_without_pictures_is_named(server, prompt, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture", "utf-8")
    graphs.inputs(prompt, "LoraLoopLoadDataset")["folder"] = str(tmp_path)
    with pytest.raises(NodeError) as caught:
        server.run(prompt)
    assert "No usable pictures" in str(caught.value)
    assert str(tmp_path) in str(caught.value) and "Check the path" in str(caught.value)


def test_previews_without_clip_and_vae(server, prompt, dataset):
    graphs.inputs(prompt, "LoraLoopPreviewSettings")["every"] = 2
    train = graphs.inputs(prompt, "LoraLoopTrain")
    del train["clip"], train["vae"]
    refused(server, prompt, r"Previews need CLIP and VAE on Train: connect")


def test_captions_that_nobody_encodes(server, prompt, dataset):
    del graphs.inputs(prompt, "LoraLoopTrain")["clip"]
    del graphs.inputs(prompt, "LoraLoopCacheLatents")["clip"]
    refused(server, prompt, r"captions are not encoded yet: connect CLIP")


def test_a_wire_of_the_wrong_kind(server, prompt):
    train = graphs.inputs(prompt, "LoraLoopTrain")
    train["lora_settings"] = train["optimiser_settings"]
    with pytest.raises(NodeError, match=r"LoraLoopTrain .*LORA_LOOP_OPTIMISER_SETTINGS"):
        server.queue(graphs.training_only(prompt))


def refused(server, prompt, sentence):
    before = graphs.results(server)
    with pytest.raises(NodeError, match=rf"LoraLoopTrain .*ValueError: .*{sentence}"):
        server.run(graphs.training_only(prompt))
    assert graphs.results(server) == before
    assert "new run" not in server.tail(30).rsplit("got prompt", 1)[-1]


@pytest.fixture(scope="module")
def empty_server(tmp_path_factory):
    """A server of a newcomer: pictures, but no checkpoint, no tagger, and no way to the internet."""
    base = demo_base.prepare(tmp_path_factory.mktemp("empty"), with_tiny_models=False)
    pictures.write(demo_base.dataset_path(base))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        with ComfyServer(os.environ["COMFYUI_PATH"], base) as running:
            yield running


def test_what_a_newcomer_lacks_is_named_with_the_place_to_get_it(empty_server, root):
    info = empty_server.object_info()
    texts = root / "example_workflows"
    train, tag = (
        to_prompt(json.loads((texts / f"{name}.json").read_text("utf-8")), info)
        for name in ("train_and_preview", "tag_and_clean_captions")
    )
    with pytest.raises(NodeError, match=rf"CheckpointLoaderSimple .*{demo_base.CHECKPOINT}"):
        empty_server.queue(graphs.training_only(train))
    with pytest.raises(NodeError) as caught:
        empty_server.run(tag)
    message = str(caught.value)
    assert f"https://huggingface.co/SmilingWolf/{demo_base.TAGGER}" in message
    assert str(demo_base.tagger_path(empty_server.base_directory)) in message
    assert not list(demo_base.dataset_path(empty_server.base_directory).glob("*.txt"))
