"""ComfyUI is killed in the middle of a training: what the next one finds, and what it goes on with."""

import time

import pytest

from pack.demo import base as demo_base
from pack.demo import pictures
from pack.tests.server import graphs

pytestmark = pytest.mark.slow

TRAIN = "LoraLoopTrain"
PATIENCE = 300.0
STEPS = graphs.STATE_STEPS + 15


def runs(server):
    return set((server.base_directory / "output" / "lora_loop" / "runs").glob("*"))


def states(run):
    return sorted(int(path.name.split("-")[1]) for path in run.glob("state-*.pt"))


@pytest.fixture(scope="module")
def prompts(root, server, object_info):
    """Two prompts as far as Train: a short one that ends, a longer one that is killed."""
    pictures.write(demo_base.dataset_path(server.base_directory))
    found = []
    for name, steps in (("finished", 2), ("killed", STEPS)):
        prompt = graphs.small(graphs.example(root, "train_and_preview", object_info), name)
        graphs.inputs(prompt, TRAIN)["steps"] = steps
        found.append(graphs.training_only(prompt))
    return found


@pytest.fixture(scope="module")
def killed(server, prompts):
    """One restart for both: (results of the first, the run of the second)."""
    finished, longer = prompts
    server.run(finished)
    results, known = graphs.results(server), runs(server)
    server.queue(longer)
    deadline = time.monotonic() + PATIENCE
    while not any(map(states, runs(server) - known)):
        assert time.monotonic() < deadline, "no state was saved"
        time.sleep(0.02)
    server.stop()
    (run,) = runs(server) - known
    assert states(run) == [graphs.STATE_STEPS] and graphs.results(server) == results
    server.start()
    return results, run


def test_a_restart_finds_the_result(server, prompts, killed):
    results, _ = killed
    finished, _ = prompts
    entry = server.run(finished)
    assert graphs.key(finished, TRAIN) not in graphs.cached(entry)
    assert graphs.results(server) == results
    log = server.log.read_text(errors="replace")
    assert "nothing changed, the result of run" in log and "LoRA Loop: new run" not in log
    (text,) = entry["outputs"][graphs.key(finished, TRAIN)]["text"]
    assert text.startswith("nothing changed")


def test_the_next_comfyui_goes_on_after_the_last_state(server, prompts, killed):
    results, run = killed
    _, longer = prompts
    with graphs.Recorder(server) as record:
        server.run(longer, timeout=PATIENCE)
    steps = [int(line[1]) for line in record.steps(graphs.key(longer, TRAIN))]
    assert steps[0] > graphs.STATE_STEPS and steps[-1] == STEPS
    (new,) = set(graphs.results(server)) - set(results)
    assert new.parent == run
