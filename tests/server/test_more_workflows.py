"""The workflows for going on and for looking, made small: every node and wire as they come."""

from pathlib import Path

import pytest
from PIL import Image

from pack.tests.server import graphs

pytestmark = pytest.mark.slow

LONGEST = 300.0


@pytest.fixture
def made_small(request, example, dataset):
    """A function: name of an example workflow → its prompt, small, with a seed of this test's own."""
    return lambda name: graphs.small(example(name), request.node.name)


def test_resume_and_extend(server, made_small):
    prompt = made_small("resume_and_extend")
    train = graphs.key(prompt, "LoraLoopTrain")
    prompt[train]["inputs"]["steps"] = 4
    graphs.inputs(prompt, "LoraLoopValidationSettings")["every"] = 2
    graphs.inputs(prompt, "LoraLoopCheckpointSettings")["every_steps"] = 2
    before = set(graphs.results(server))
    with graphs.Recorder(server) as record:
        entry = server.run(prompt, timeout=LONGEST)
    assert [int(line[1]) for line in record.steps(train)][-1] == 4
    runs = {path.parent for path in set(graphs.results(server)) - before}
    (run,) = {path.parent if path.name == "checkpoints" else path for path in runs}
    prompt[train]["inputs"]["steps"] = 7
    with graphs.Recorder(server) as record:
        more = server.run(prompt, timeout=LONGEST)
    steps = [int(line[1]) for line in record.steps(train)]
    assert steps[0] > 4 and steps[-1] == 7, "it began again"
    checkpoints = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert checkpoints == [f"my_lora-step{n:08}.safetensors" for n in (2, 4, 6)]
    rows = (run / "steps.csv").read_text("utf-8").splitlines()
    assert len(rows) == 1 + 7
    assert run.name in more["outputs"][graphs.key(prompt, "PreviewAny")]["text"][0]
    listed = entry["outputs"][graphs.key(prompt, "PreviewAny")]["text"][0]
    assert listed.startswith(run.name), "Runs did not wait for Train"
    saved = entry["outputs"][graphs.key(prompt, "LoraLoopSaveLora")]["text"][0]
    assert "my_lora" in saved


def test_prodigy_with_previews(server, made_small):
    pytest.importorskip("prodigyopt")
    prompt = made_small("prodigy_with_previews")
    train = graphs.key(prompt, "LoraLoopTrain")
    prompt[train]["inputs"]["steps"] = 4
    graphs.inputs(prompt, "LoraLoopOptimiserSettings")["learning_rate"] = 1.0
    graphs.inputs(prompt, "LoraLoopPreviewSettings")["every"] = 2
    entry = server.run(prompt, timeout=LONGEST)
    prompts = graphs.inputs(prompt, "StringReplace")["string"].splitlines()
    sheets = server.outputs(entry, graphs.key(prompt, "PreviewImage", "strengths"))
    assert len(sheets) == len(prompts) == 2
    with Image.open(sheets[0]) as sheet:  # two steps below each other, five strengths side by side
        assert sheet.width > 5 * 64 and sheet.height > 2 * 64
    assert server.outputs(entry, graphs.key(prompt, "PreviewImage", "saw"))
    seen = entry["outputs"][graphs.key(prompt, "PreviewAny")]["text"][0]
    assert ".png" in seen or ".jpg" in seen


def test_find_the_best(server, made_small):
    """Every question that the template asks is answered in one Queue; the muted finder has tests of its own."""
    prompt = made_small("find_the_best")
    for kind, few in {
        "LoraLoopSweep": {"steps": 6, "learning_rates": "1e-3, 3e-3", "seeds": "0"},
        "LoraLoopValidationSettings": {"every": 3},
        "LoraLoopCheckpointSettings": {"every_steps": 3},
        "LoraLoopPreviewSettings": {"every": 3},
        "LoraLoopDatasetReport": {"timesteps": 2, "seeds": 1},
        "LoraLoopScoreLora": {"timesteps": 2, "seeds": 1},
    }.items():
        graphs.inputs(prompt, kind).update(few)
    entry = server.run(prompt, timeout=LONGEST)
    for kind, words in {
        "SweepReport": "2 runs of 2 settings",
        "Train": "best validation at step",
        "ScorePreviews": "step 6, strength 1: ",
        "DatasetReport": "too few to say which stand out",
        "CompareLoras": "LoRA | strength | loss, less that without a LoRA",
        "ScoreLora": "held-out loss ",
        "SaveLora": "my_best_lora",
    }.items():
        said = "\n".join(entry["outputs"][graphs.key(prompt, f"LoraLoop{kind}")]["text"])
        assert words in said, said
    for title in ("each run", "scores", "stand out", "strength", "0.8"):
        assert server.outputs(entry, graphs.key(prompt, "PreviewImage", title)), title


def test_embedding(server, made_small):
    """The word is trained, drawn while it is, saved, and used by the prompt of the same graph."""
    prompt = made_small("embedding")
    graphs.inputs(prompt, "LoraLoopPreviewSettings")["every"] = 2
    entry = server.run(prompt, timeout=LONGEST)
    path, words = entry["outputs"][graphs.key(prompt, "LoraLoopSaveEmbedding")]["text"]
    assert words == f"embedding:{graphs.TRIGGER}" and path.endswith(f"{graphs.TRIGGER}.safetensors")
    assert server.outputs(entry, graphs.key(prompt, "SaveImage"))
    assert len(server.outputs(entry, graphs.key(prompt, "PreviewImage"))) == 1
    assert f"embedding:{graphs.TRIGGER} does not exist" not in server.tail(200)


def test_dreambooth(server, made_small):
    """The class is drawn once, and trained beside the images as regularisation images."""
    prompt = made_small("dreambooth")
    graphs.inputs(prompt, "LoraLoopPreviewSettings")["every"] = 2
    drawn = graphs.key(prompt, "LoraLoopMakeClassImages")
    prompt[drawn]["inputs"].update(count=3, width=64, height=64, steps=2)
    entry = server.run(prompt, timeout=LONGEST)
    (said,) = entry["outputs"][drawn]["text"]
    folder = Path(said.removeprefix("3 made, 0 were there: "))
    assert folder.parent == server.base_directory / "output" / "lora_loop" / "class_images"
    files = {path: path.read_bytes() for path in folder.glob("*.png")}
    assert (
        len(files) == 3 == len(server.outputs(entry, graphs.key(prompt, "PreviewImage", "class")))
    )
    (merged,) = entry["outputs"][graphs.key(prompt, "LoraLoopMergeDatasets")]["text"]
    assert "class (regularisation): 3 x 1" in merged
    assert server.outputs(entry, graphs.key(prompt, "SaveImage"))
    assert len(server.outputs(entry, graphs.key(prompt, "PreviewImage", "strengths"))) == 2
    prompt[drawn]["inputs"]["count"] = 4
    again = server.run(graphs.keep(prompt, graphs.key(prompt, "PreviewImage", "class")))
    assert again["outputs"][drawn]["text"][0].startswith("1 made, 3 were there")
    assert {path: path.read_bytes() for path in files} == files


def test_slider(server, made_small):
    """From two prompts to a sheet of one seed at five strengths, the model's own picture in the middle."""
    prompt = made_small("slider")
    graphs.inputs(prompt, "LoraLoopPreviewSettings")["every"] = 2
    entry = server.run(prompt, timeout=LONGEST)
    (sheet,) = server.outputs(entry, graphs.key(prompt, "SaveImage"))
    with Image.open(sheet) as row:
        assert row.width > 5 * 64 and 64 < row.height < 2 * 64
    (said,) = entry["outputs"][graphs.key(prompt, "LoraLoopCompareLoras")]["text"]
    strengths = [line.rpartition(" | ")[2] for line in said.splitlines()]
    assert strengths[1:6] == ["-1", "-0.5", "0", "0.5", "1"]
    assert len(server.outputs(entry, graphs.key(prompt, "PreviewImage"))) == 1
    assert entry["outputs"][graphs.key(prompt, "LoraLoopSaveLora")]["text"][0]
