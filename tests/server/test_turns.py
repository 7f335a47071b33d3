"""The queue is the user's: a picture is made in the middle of a training, whose LoRA stays the same to the bit."""

import shutil
import time

import pytest

from pack.demo.server import NodeError
from pack.tests.server import graphs

pytestmark = pytest.mark.slow

PATIENCE = 120.0
STEPS = 60


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.03)


def latest(server):
    return server.get("/lora_loop/training")["trainings"][-1]


@pytest.fixture
def training(request, example, dataset):
    """A prompt as far as Train, and Train's id."""
    prompt = graphs.small(example("train_and_preview"), request.node.name)
    train = graphs.key(prompt, "LoraLoopTrain")
    prompt[train]["inputs"]["steps"] = STEPS
    return graphs.training_only(prompt), train


@pytest.fixture
def picture(example, object_info):
    """A prompt that samples an image with another seed each time."""

    def made(seed):
        prompt = graphs.small(example("train_and_preview"), "picture")
        before = graphs.key(prompt, "VAEDecode", "before")
        graphs.add(prompt, object_info, "shown", "PreviewImage", images=[before, 0])
        prompt = graphs.keep(prompt, "shown")
        prompt[graphs.key(prompt, "KSampler")]["inputs"]["seed"] = seed
        assert not graphs.keys(prompt, "LoraLoopTrain")
        return prompt

    return made


def result(server, run):
    """The bytes of the finished LoRA of a run."""
    folder = server.base_directory / "output" / "lora_loop" / "runs" / run
    return (folder / f"steps-{STEPS:08}.safetensors").read_bytes()


def without_checksum(data):
    """The tensors: what lies behind the header, which has the date of the training."""
    return data[8 + int.from_bytes(data[:8], "little") :]


@pytest.fixture
def uninterrupted(server, training):
    """What the training comes to by itself; the run is taken away, so that it is done again."""
    prompt, _ = training
    server.run(prompt)
    run = latest(server)["run"]
    tensors = without_checksum(result(server, run))
    shutil.rmtree(server.base_directory / "output" / "lora_loop" / "runs" / run)
    return tensors


@pytest.mark.old_host
def test_it_gives_way_and_goes_on_by_itself(server, training, picture, uninterrupted):
    prompt, train = training
    prompt[train]["inputs"]["give_way"] = True
    with graphs.Recorder(server) as record:
        queued = server.queue(prompt)
        wait_for(lambda: len(record.steps(train)) >= 2, "the training did not start")
        made = server.queue(picture(1))
        entry = server.wait(made, PATIENCE)
        assert entry["status"]["status_str"] == "success"
        assert queued not in server.get("/history") or latest(server)["step"] == STEPS
        assert server.wait(queued, PATIENCE)["status"]["status_str"] == "success"
    now = latest(server)
    assert (now["state"], now["step"], now["prompt"]) == ("ended", STEPS, queued)
    states = [told["state"] for told in record.trainings]
    assert "waiting" in states and states[-1] == "ended"
    assert without_checksum(result(server, now["run"])) == uninterrupted
    marks = server.get(f"/lora_loop/run/curve?run={now['run']}")["marks"]
    assert [mark["kind"] for mark in marks] == ["resume"] and 0 < marks[0]["step"] < STEPS


def test_it_stands_still_until_it_is_asked_to_go_on(server, training, picture, uninterrupted):
    prompt, train = training
    prompt[train]["inputs"]["give_way"] = True  # else ComfyUI still has the result
    command = {"node": train, "command": "pause"}
    queued = server.queue(prompt)
    wait_for(lambda: latest(server)["state"] == "training", "the training did not start")
    assert server.post("/lora_loop/training", command)["prompt"] == queued
    wait_for(lambda: latest(server)["state"] == "paused", "it did not pause")
    at = latest(server)["step"]
    assert 0 < at < STEPS and latest(server)["line"] == f"paused at step {at} of {STEPS}"
    assert server.run(picture(2))["status"]["status_str"] == "success"
    assert server.get("/queue")["queue_pending"] == [] and queued not in server.get("/history")
    assert latest(server)["step"] == at
    server.post("/lora_loop/training", {**command, "command": "resume"})
    assert server.wait(queued, PATIENCE)["status"]["status_str"] == "success"
    assert without_checksum(result(server, latest(server)["run"])) == uninterrupted


def test_two_trainings_do_not_give_way_to_each_other(server, training):
    prompt, train = training
    prompt[train]["inputs"]["give_way"] = True
    other = {**prompt, train: {**prompt[train], "inputs": {**prompt[train]["inputs"], "seed": 7}}}
    with graphs.Recorder(server) as record:
        queued = [server.queue(prompt), server.queue(other)]
        for one in queued:
            server.wait(one, PATIENCE)
    assert {told["state"] for told in record.trainings} == {"preparing", "training", "ended"}


def test_a_cancelled_training_says_where_it_stands(server, training):
    prompt, _ = training
    queued = server.queue(prompt)

    def trains():
        now = latest(server)
        return now["prompt"] == queued and now["state"] == "training" and now["step"] > 1

    wait_for(trains, "the training did not start")
    server.interrupt()
    with pytest.raises(NodeError):
        server.wait(queued, PATIENCE)
    now = latest(server)
    assert now["state"] == "cancelled"
    assert now["line"] == f"stopped at step {now['step']} of {STEPS}; Run goes on from there"


def test_a_turn_that_is_taken_out_of_the_queue_is_told(server, training, picture):
    """Resumed while another training runs, so that its turn waits, and deleted there."""
    prompt, train = training
    prompt[train]["inputs"]["steps"] = 100_000
    queued = server.queue(prompt)
    wait_for(lambda: latest(server)["state"] == "training", "the training did not start")
    server.post("/lora_loop/training", {"node": train, "command": "pause"})
    wait_for(lambda: latest(server)["state"] == "paused", "it did not pause")
    wait_for(lambda: not server.get("/queue")["queue_running"], "its turn did not end")
    slow = picture(3)
    slow[graphs.key(slow, "KSampler")]["inputs"]["steps"] = 1000
    server.queue(slow)
    wait_for(lambda: server.get("/queue")["queue_running"], "the picture did not start")
    server.post("/lora_loop/training", {"node": train, "command": "resume"})
    assert latest(server)["state"] == "waiting"
    server.post("/queue", {"delete": [queued]})
    server.interrupt()
    assert latest(server)["state"] == "cancelled"
    assert "taken out of the queue, or ended before Train, at step" in latest(server)["line"]
