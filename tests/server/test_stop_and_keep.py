"""Stop and keep on a real server: asked over HTTP, and by the button in the browser."""

import json
import time
import urllib.error
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


def refusal(server, path, body):
    with pytest.raises(urllib.error.HTTPError) as caught:
        server.post(path, body)
    return caught.value.code, json.loads(caught.value.read())["error"]


@pytest.mark.old_host
def test_asked_over_http(server, long_run):
    prompt, train = long_run
    assert server.get("/lora_loop/training") == {"nodes": []}
    assert refusal(server, "/lora_loop/stop", {"node": train}) == (
        409,
        f"Node {train} is not training.",
    )
    assert refusal(server, "/lora_loop/stop", ["node"])[0] == 400
    with graphs.Recorder(server) as record:
        queued = server.queue(prompt)
        wait_for(lambda: len(record.steps(train)) >= 2, "the training did not start")
        assert server.get("/api/lora_loop/training") == {"nodes": [train]}
        assert server.post("/api/lora_loop/stop", {"node": train}) == {"node": train}
        entry = server.wait(queued, PATIENCE)
    assert entry["status"]["status_str"] == "success"
    assert server.get("/lora_loop/training") == {"nodes": []}
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
        server.post("/lora_loop/stop", {"node": train})
        server.wait(queued, PATIENCE)
    assert int(record.steps(train)[0][1]) == reached + 1


def test_a_request_that_another_site_could_send_is_refused(server):
    for body, kind in (
        (b'{"node": "1"}', "text/plain"),
        (b"node=1", "application/x-www-form-urlencoded"),
    ):
        request = urllib.request.Request(
            server.url + "/lora_loop/stop", body, {"Content-Type": kind}
        )
        with pytest.raises(urllib.error.HTTPError, match="415"):
            urllib.request.urlopen(request)


SET = """values => { for (const node of app.rootGraph.nodes) for (const widget of node.widgets ?? []) {
    const value = values[node.comfyClass]?.[widget.name];
    if (value !== undefined) widget.value = value; } }"""
SAVED = "app.rootGraph.nodes.find(n => n.comfyClass == 'LoraLoopTrain').serialize().widgets_values"


@pytest.mark.parametrize("vue", [False, True], ids=["canvas", "vue"])
def test_the_button(server, page, root, dataset, vue):
    """It is there while the node trains, ends the run, and leaves no trace in the workflow."""
    workflow = graphs.workflow(root, "train_and_preview")
    page, errors = page(vue), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.evaluate("workflow => app.loadGraphData(workflow, true, true, 'test')", workflow)
    page.evaluate(SET, {**graphs.SMALL, "LoraLoopTrain": {"steps": 100000, "seed": 1234 + vue}})
    saved = page.evaluate(SAVED)
    button = page.get_by_role("button", name="Stop and keep")
    assert button.count() == 0
    page.evaluate("app.queuePrompt(0)")
    button.wait_for(timeout=PATIENCE * 1000)
    assert page.evaluate(SAVED) == saved
    (prompt_id,) = [job[1] for job in server.get("/queue")["queue_running"]]
    button.click()
    entry = server.wait(prompt_id, PATIENCE)
    assert entry["status"]["status_str"] == "success"
    texts = [text for shown in entry["outputs"].values() for text in shown.get("text", [])]
    assert any("Stopped by the user after step " in text for text in texts)
    page.get_by_role("button", name="Stop").wait_for(state="detached")
    assert page.evaluate(SAVED) == saved and errors == []


def test_a_page_that_comes_in_the_middle_has_the_button(server, page, root, long_run):
    prompt, _ = long_run
    workflow = graphs.workflow(root, "train_and_preview")
    prompt_id = server.queue(prompt)
    wait_for(lambda: server.get("/lora_loop/training")["nodes"], "the training did not start")
    page = page(False)
    page.evaluate("workflow => app.loadGraphData(workflow, true, true, 'test')", workflow)
    page.get_by_role("button", name="Stop and keep").click()
    assert server.wait(prompt_id, PATIENCE)["status"]["status_str"] == "success"
