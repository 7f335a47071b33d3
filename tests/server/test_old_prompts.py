"""Prompts that 0.1.0 and versions before it saved: they are accepted, and they run.

`prompts_0_1_0/` is never edited. Of tag_and_clean_captions it has the prompt from before nine inputs
of its nodes existed, and without any default filled in.
"""

import json
from pathlib import Path

import pytest

from pack.tests.server import graphs

pytestmark = pytest.mark.slow

PROMPTS = {path.stem: path for path in (Path(__file__).parent / "prompts_0_1_0").glob("*.json")}
LONGEST = 300.0


def read(name):
    return json.loads(PROMPTS[name].read_text(encoding="utf-8"))


@pytest.mark.old_host
@pytest.mark.parametrize("name", PROMPTS)
def test_they_are_accepted(server, dataset, name):
    prompt_id = server.queue(read(name))
    server.post("/queue", {"delete": [prompt_id]})
    server.interrupt()


@pytest.mark.old_host
def test_captions_are_cleaned_by_one_from_before_some_inputs(server, dataset):
    prompt = read("tag_and_clean_captions")
    assert "recursive" not in graphs.inputs(prompt, "LoraLoopLoadDataset")
    server.run(prompt, timeout=LONGEST)
    captions = [path.read_text("utf-8") for path in dataset.glob("*.txt")]
    assert captions and all(text.startswith("mychar, ") for text in captions)


def test_one_that_trains_does_so(server, dataset):
    prompt = graphs.small(read("train_and_preview"), "old prompts")
    entry = server.run(prompt, timeout=LONGEST)
    line = entry["outputs"][graphs.key(prompt, "LoraLoopSaveLora")]["text"][0]
    assert line.startswith("saved ")
