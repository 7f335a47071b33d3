"""What retrains and what does not: the promise of the Queue button."""

import pytest
from PIL import Image

from pack.tests.server import graphs

pytestmark = pytest.mark.slow

LOADER, TRAIN = "LoraLoopLoadDataset", "LoraLoopTrain"


@pytest.fixture
def prompt(request, example):
    """The whole example with one preview, made small."""
    prompt = graphs.small(example("train_and_preview"), request.node.name)
    graphs.inputs(prompt, "LoraLoopPreviewSettings")["every"] = 2
    return prompt


@pytest.mark.old_host
def test_queueing_again_trains_nothing(server, prompt, dataset):
    first = server.run(prompt)
    before = graphs.results(server)
    again = server.run(prompt)
    assert graphs.key(prompt, TRAIN) in graphs.cached(again)
    assert graphs.key(prompt, TRAIN) not in graphs.cached(first)
    assert graphs.results(server) == before


def test_another_sampling_seed_samples_but_does_not_train(server, prompt, dataset):
    server.run(prompt)
    before = graphs.results(server)
    for sampler in graphs.keys(prompt, "KSampler"):
        prompt[sampler]["inputs"]["seed"] += 1
    entry = server.run(prompt)
    executed = prompt.keys() - graphs.cached(entry)
    assert set(graphs.keys(prompt, "KSampler")) <= executed
    assert graphs.key(prompt, TRAIN) not in executed
    assert graphs.results(server) == before


def test_other_previews_do_not_retrain(server, prompt, dataset):
    server.run(prompt)
    before = graphs.results(server)
    graphs.inputs(prompt, "LoraLoopPreviewSettings")["prompts"] = "something else"
    entry = server.run(prompt)
    assert graphs.key(prompt, TRAIN) not in graphs.cached(entry)
    assert graphs.results(server) == before


def edit_picture(folder):
    with Image.open(folder / "astronaut.png") as opened:
        picture = opened.convert("RGB")
    picture.putpixel((5, 5), (255, 0, 255))
    picture.save(folder / "astronaut.png")


def edit_caption(folder):
    (folder / "astronaut.txt").write_text("someone, in space\n", "utf-8")


@pytest.mark.parametrize("edit", [edit_picture, edit_caption])
def test_an_edit_on_disk_retrains(server, prompt, dataset, edit):
    prompt = graphs.training_only(prompt)
    server.run(prompt)
    before = graphs.results(server)
    edit(dataset)
    entry = server.run(prompt)
    assert not {graphs.key(prompt, LOADER), graphs.key(prompt, TRAIN)} & graphs.cached(entry)
    after = graphs.results(server)
    assert len(after) == len(before) + 1
    assert {path: after[path] for path in before} == before


def test_writing_captions_on_the_way_trains_once(server, prompt, object_info, dataset):
    """Load → Tag (append) → Filter → Save Captions → Cache → Train, three times."""
    cleaned = [graphs.key(prompt, "LoraLoopFilterTags"), 0]
    saved = graphs.add(prompt, object_info, "captions", "LoraLoopSaveCaptions", dataset=cleaned)
    graphs.inputs(prompt, "LoraLoopCacheLatents")["dataset"] = saved
    prompt = graphs.training_only(prompt)
    known = graphs.results(server)
    server.run(prompt)
    captions = {path: path.read_bytes() for path in dataset.glob("*.txt")}
    assert len(captions) == 8
    once = graphs.results(server)
    assert len(once) == len(known) + 1
    for _ in range(2):
        server.run(prompt)
        assert graphs.results(server) == once
        assert {path: path.read_bytes() for path in dataset.glob("*.txt")} == captions
