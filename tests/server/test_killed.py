"""ComfyUI is killed in the middle of a training: the next one goes on with it."""

import os
import time

import pytest

from pack.demo import base as demo_base
from pack.demo import pictures, tiny_tagger
from pack.demo.server import ComfyServer
from pack.tests.server import graphs
from pack.trainer.runs.state_keeper import STATE_STEPS

PATIENCE = 300.0


@pytest.fixture
def mortal(tmp_path):
    """A server of this test's own, which it may kill."""
    base = demo_base.prepare(tmp_path / "comfyui")
    tiny_tagger.write(demo_base.tagger_path(base))
    pictures.write(demo_base.dataset_path(base))
    with ComfyServer(os.environ["COMFYUI_PATH"], base) as running:
        yield running


def states(server):
    runs = server.base_directory / "output" / "lora_loop" / "runs"
    return sorted(int(path.name.split("-")[1]) for path in runs.glob("*/state-*.pt"))


def test_the_next_comfyui_goes_on_after_the_last_state(mortal, request, example):
    prompt = graphs.training_only(graphs.small(example("train_and_preview"), request.node.name))
    train = graphs.key(prompt, "LoraLoopTrain")
    prompt[train]["inputs"]["steps"] = STATE_STEPS + 30
    mortal.queue(prompt)
    deadline = time.monotonic() + PATIENCE
    while not states(mortal):
        assert time.monotonic() < deadline, "no state was saved"
        time.sleep(0.02)
    mortal.stop()
    assert states(mortal) == [STATE_STEPS] and not graphs.results(mortal)
    mortal.start()
    with graphs.Recorder(mortal) as record:
        mortal.run(prompt, timeout=PATIENCE)
    steps = [int(line[1]) for line in record.steps(train)]
    assert steps[0] > STATE_STEPS and steps[-1] == STATE_STEPS + 30
    assert len(graphs.results(mortal)) == 1
