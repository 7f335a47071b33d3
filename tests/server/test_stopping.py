"""ComfyUI's cancel during a training: quick, and nothing is left behind on the MODEL."""

import time

import pytest
from PIL import Image

from pack.demo.server import NodeError
from pack.tests.server import graphs

pytestmark = pytest.mark.slow

PATIENCE = 60.0


@pytest.fixture
def plain(example, object_info):
    """A function: denoise → a prompt that samples the checkpoint without a LoRA.

    Above 0.9999 denoise changes nothing in the image, but ComfyUI samples again.
    """

    def make(denoise):
        prompt = graphs.small(example("train_and_preview"), "plain")
        graphs.inputs(prompt, "KSampler", "before").update(denoise=denoise, seed=77, steps=4)
        images = [graphs.key(prompt, "VAEDecode", "before"), 0]
        graphs.add(prompt, object_info, "save", "SaveImage", images=images)
        return graphs.keep(prompt, "save")

    return make


def sample(server, prompt):
    entry = server.run(prompt)
    done = graphs.cached(entry)
    assert graphs.key(prompt, "KSampler", "before") not in done, "the image is an old one"
    (path,) = server.outputs(entry, "save")
    with Image.open(path) as picture:
        return picture.tobytes(), graphs.key(prompt, "CheckpointLoaderSimple") in done


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.mark.old_host
def test_an_interrupt_stops_within_a_step_and_leaves_the_model_as_it_was(
    server, request, example, plain, dataset
):
    before, _ = sample(server, plain(1.0))
    prompt = graphs.small(example("train_and_preview"), request.node.name)
    train = graphs.key(prompt, "LoraLoopTrain")
    prompt = graphs.training_only(prompt)
    prompt[train]["inputs"]["steps"] = 100000
    known = graphs.results(server)
    with graphs.Recorder(server) as record:
        prompt_id = server.queue(prompt)
        wait_for(lambda: len(record.steps(train)) >= 3, "the training did not start")
        start = time.monotonic()
        server.interrupt()
        with pytest.raises(NodeError, match=r"LoraLoopTrain .*interrupted"):
            server.wait(prompt_id, PATIENCE)
        seconds = time.monotonic() - start
    assert seconds < 3.0, "a step of this size takes about a tenth of a second"
    assert graphs.results(server) == known
    after, same_model = sample(server, plain(0.99995))
    assert same_model, "the checkpoint was loaded again, which proves nothing"
    assert after == before

    reached = int(record.steps(train)[-1][1])
    prompt[train]["inputs"]["steps"] = reached + 3
    with graphs.Recorder(server) as record:
        server.run(prompt)
    assert int(record.steps(train)[0][1]) > reached, "it began again"
    assert len(graphs.results(server)) == len(known) + 1


def test_a_finished_training_leaves_the_model_as_it_was(server, request, example, plain, dataset):
    before, _ = sample(server, plain(0.99996))
    prompt = graphs.training_only(graphs.small(example("train_and_preview"), request.node.name))
    server.run(prompt)
    after, same_model = sample(server, plain(0.99997))
    assert same_model
    assert after == before
