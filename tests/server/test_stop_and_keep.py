"""What can be asked of a training on a real server, over HTTP; by clicks: browser/test_training.py."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

from pack.tests.server import graphs

pytestmark = pytest.mark.slow

PATIENCE = 120.0


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture
def long_run(request, example, dataset):
    """A prompt as far as Train and the loss plot that would take hours, and Train's id."""
    prompt = graphs.small(example("train_and_preview"), request.node.name)
    train = graphs.key(prompt, "LoraLoopTrain")
    prompt[train]["inputs"]["steps"] = 100000
    return graphs.training_only(prompt), train


def refusal(server, body):
    with pytest.raises(urllib.error.HTTPError) as caught:
        server.post("/lora_loop/training", body)
    return caught.value.code, json.loads(caught.value.read())["error"]


def trainings(server):
    """How the trainings of the server stand, by node."""
    return {one["node"]: one["state"] for one in server.get("/api/lora_loop/training")["trainings"]}


@pytest.mark.old_host
def test_asked_over_http(server, long_run):
    prompt, train = long_run
    stop = {"node": train, "command": "stop"}
    assert refusal(server, {"node": "no_such", "command": "stop"}) == (
        409,
        "Node no_such is not training.",
    )
    assert refusal(server, ["node"])[0] == 400
    status, error = refusal(server, {"node": train, "command": "dance"})
    assert status == 400 and "stop, pause, checkpoint, preview, resume" in error
    with graphs.Recorder(server) as record:
        queued = server.queue(prompt)
        wait_for(lambda: len(record.steps(train)) >= 2, "the training did not start")
        assert trainings(server)[train] == "training"
        refused = refusal(server, {"node": train, "command": "resume"})
        assert refused == (409, "This training is not paused. Queue it to go on.")
        assert server.post("/api/lora_loop/training", stop)["node"] == train
        entry = server.wait(queued, PATIENCE)
    assert entry["status"]["status_str"] == "success"
    assert trainings(server)[train] == "ended"
    assert refusal(server, stop) == (409, "This training does not run: it is ended.")
    (text,) = entry["outputs"][train]["text"]
    assert text.startswith("trained ") and "Stopped by the user after step " in text
    plot = graphs.key(prompt, "SaveImage", "loss")
    assert server.outputs(entry, plot)[0].is_file()  # the nodes behind it went on
    reached = int(text.split()[1])
    known = graphs.results(server)
    assert any(path.name == f"kept-{reached:08}.safetensors" for path in known)

    prompt[train]["inputs"]["checkpointing"] = "full"  # the same run, but not the same to ComfyUI
    again = server.run(prompt)["outputs"][train]["text"][0]
    assert again.startswith(f"nothing changed: the stored result of {reached} steps")
    assert graphs.results(server) == known

    prompt[train]["inputs"].update(continue_stopped=True)
    with graphs.Recorder(server) as record:
        queued = server.queue(prompt)
        wait_for(lambda: record.steps(train), "it did not go on")
        server.post("/lora_loop/training", stop)
        server.wait(queued, PATIENCE)
    assert int(record.steps(train)[0][1]) == reached + 1


def test_a_checkpoint_and_previews_at_once(server, long_run):
    """Neither was set up to be made at any step."""
    prompt, train = long_run
    with graphs.Recorder(server) as record:
        queued = server.queue(prompt)
        wait_for(lambda: len(record.steps(train)) >= 2, "the training did not start")
        for command in ("checkpoint", "preview"):
            server.post("/lora_loop/training", {"node": train, "command": command})

        def marks():
            return {
                mark["kind"]: mark["step"]
                for told in record.trainings
                for mark in told.get("marks", ())
            }

        wait_for(lambda: {"checkpoint", "preview"} <= marks().keys(), "nothing was made")
        server.post("/lora_loop/training", {"node": train, "command": "stop"})
        entry = server.wait(queued, PATIENCE)
    (told,) = entry["outputs"][train]["lora_loop"]
    run = server.base_directory / "output" / "lora_loop" / "runs" / told["run"]
    (checkpoint,) = (run / "checkpoints").iterdir()
    assert checkpoint.name == f"at-step{marks()['checkpoint']:08}.safetensors"
    step = marks()["preview"]
    assert [preview["filename"] for preview in told["previews"]] == [f"step{step:08}_0.png"]
    curve = server.get(f"/lora_loop/run/curve?run={told['run']}")
    assert len(curve["steps"]) == told["steps"] == len(curve["loss"])
    assert {"kind": "checkpoint", "step": marks()["checkpoint"]} in curve["marks"]
    assert {"kind": "preview", "step": step} in curve["marks"]
    (preview,) = server.get(f"/lora_loop/run/previews?run={told['run']}")["previews"]
    assert (preview["step"], preview["width"], preview["height"]) == (step, 64, 64)


def test_a_request_that_another_site_could_send_is_refused(server):
    for body, kind in (
        (b'{"node": "1"}', "text/plain"),
        (b"node=1", "application/x-www-form-urlencoded"),
    ):
        request = urllib.request.Request(
            server.url + "/lora_loop/training", body, {"Content-Type": kind}
        )
        with pytest.raises(urllib.error.HTTPError, match="415"):
            urllib.request.urlopen(request)


@pytest.mark.parametrize("route", ["curve", "previews", "preview"])
@pytest.mark.parametrize("run", ["", "..", "../runs", "0123456789abcdef", "0123456789ABCDEF/"])
def test_only_runs_that_there_are_can_be_seen(server, route, run):
    query = urllib.parse.urlencode({"run": run, "name": "step00000001_0.png"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        server.get(f"/lora_loop/run/{route}?{query}")
    assert caught.value.code == 404


def test_a_page_of_another_site_sees_nothing(server):
    for headers in ({"Origin": "http://elsewhere"}, {"Sec-Fetch-Site": "cross-site"}):
        request = urllib.request.Request(server.url + "/lora_loop/training", headers=headers)
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(request)
