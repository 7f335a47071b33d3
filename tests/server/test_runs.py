"""The node Runs on a real server, after a training."""

import re
import zipfile
from pathlib import Path

import pytest

from pack.tests.server import graphs


@pytest.fixture
def ask(server, object_info):
    """A function: the inputs of Runs → its report, as the node shows it."""

    def told(**values):
        prompt = {}
        graphs.add(prompt, object_info, "runs", "LoraLoopRuns", **values)
        (report,) = server.run(prompt)["outputs"]["runs"]["text"]
        return report

    return told


@pytest.mark.old_host
def test_listed_reported_and_pruned(server, request, example, dataset, ask):
    prompt = graphs.training_only(graphs.small(example("train_and_preview"), request.node.name))
    train = graphs.key(prompt, "LoraLoopTrain")
    done = server.run(prompt)["outputs"][train]["text"][0]
    (name,) = re.findall(r"\b[0-9a-f]{16}\b", done)
    first = ask().splitlines()[0]
    assert first.startswith(name) and ", step 2 of 2, " in first and "AdamW" in first

    path = Path(re.match(r"Written: (.*)", ask(action="report", run=name))[1])
    assert path == server.base_directory / "output" / "lora_loop" / "reports" / f"{name}.zip"
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        log = archive.read("run.log").decode()
    assert {"versions.json", "run.json", "run.log", "steps-00000002.json"} <= names
    assert "LoRA Loop: new run" in log and str(server.base_directory) not in log

    folder = server.base_directory / "output" / "lora_loop" / "runs" / name
    rules = {"action": "prune", "keep_last": 0, "older_than_days": 0.0, "only_states": True}
    assert "would be moved to the trash" in ask(**rules) and list(folder.glob("state-*"))
    assert name in ask(**rules, dry_run=False)
    assert not list(folder.glob("state-*")) and (folder / "steps-00000002.safetensors").exists()
    prompt[train]["inputs"]["checkpointing"] = "off"  # asks again, for the same run
    assert server.run(prompt)["outputs"][train]["text"][0].startswith("nothing changed")
    assert name in ask(**{**rules, "only_states": False}, dry_run=False)
    assert not folder.exists()
