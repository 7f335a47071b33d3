"""Input errors: told in a sentence that says what to do, before any work."""

import pytest

from pack.demo.server import NodeError
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
    (tmp_path / "notes.txt").write_text("no image", "utf-8")
    graphs.inputs(prompt, "LoraLoopLoadDataset")["folder"] = str(tmp_path)
    with pytest.raises(NodeError) as caught:
        server.run(prompt)
    assert "No usable images" in str(caught.value)
    assert str(tmp_path) in str(caught.value) and "Check the path" in str(caught.value)


def test_previews_without_clip_and_vae_are_refused_at_queue(server, prompt):
    train = graphs.inputs(prompt, "LoraLoopTrain")
    del train["clip"], train["vae"]
    with pytest.raises(NodeError, match=r"Previews need CLIP and VAE on Train: connect"):
        server.queue(prompt)


def test_without_preview_settings_train_needs_neither(server, prompt):
    train = graphs.inputs(prompt, "LoraLoopTrain")
    for name in ("clip", "vae", "preview_settings"):
        del train[name]
    server.run(prompt)


def test_captions_that_nobody_encodes(server, prompt, dataset):
    train = graphs.inputs(prompt, "LoraLoopTrain")
    del train["clip"], train["preview_settings"]
    del graphs.inputs(prompt, "LoraLoopCacheLatents")["clip"]
    refused(server, prompt, r"captions are not encoded yet: connect CLIP")


def test_a_wire_of_the_wrong_kind(server, prompt):
    train = graphs.inputs(prompt, "LoraLoopTrain")
    train["lora_settings"] = train["preview_settings"]
    with pytest.raises(NodeError, match=r"LoraLoopTrain .*LORA_LOOP_PREVIEW_SETTINGS"):
        server.queue(graphs.training_only(prompt))


def refused(server, prompt, sentence):
    before = graphs.results(server)
    with pytest.raises(NodeError, match=rf"LoraLoopTrain .*ValueError: .*{sentence}"):
        server.run(graphs.training_only(prompt))
    assert graphs.results(server) == before
    assert "new run" not in server.tail(30).rsplit("got prompt", 1)[-1]
