"""Compare LoRAs behind a training on a real server: Runs names the checkpoints, the node lays them out."""

import pytest

from pack.tests.server import graphs

pytestmark = pytest.mark.slow


@pytest.fixture
def prompt(request, example, object_info):
    """A training of two steps with a checkpoint after each, Runs behind it, and Compare LoRAs behind Runs."""
    prompt = graphs.small(example("train_and_preview"), request.node.name)
    train = graphs.inputs(prompt, "LoraLoopTrain")
    train.pop("preview_settings", None)
    train["checkpoint_settings"] = graphs.add(
        prompt, object_info, "often", "LoraLoopCheckpointSettings", every_steps=1
    )
    path = [graphs.key(prompt, "LoraLoopTrain"), 4]
    graphs.add(prompt, object_info, "runs", "LoraLoopRuns", after=path)
    small = graphs.add(
        prompt, object_info, "size", "LoraLoopPreviewSettings", width=64, height=64, steps=1
    )
    given = {name: train[name] for name in ("model", "clip", "vae", "cache")}
    given["validation_settings"] = graphs.add(
        prompt, object_info, "few", "LoraLoopValidationSettings", held_out=2, timesteps=2
    )
    given["dataset"] = graphs.inputs(prompt, "LoraLoopCacheLatents")["dataset"]
    given["tagger"] = graphs.inputs(prompt, "LoraLoopTag")["model"]
    texts = {"strengths": "0, 1", "prompts": "a robot\na cat", "seeds": "1, 2"}
    graphs.add(
        prompt, object_info, "compare", "LoraLoopCompareLoras",
        files=["runs", 2], preview_settings=small, **given, **texts,
    )  # fmt: skip
    graphs.add(prompt, object_info, "shown", "PreviewImage", images=["compare", 0])
    return graphs.keep(prompt, "shown")


def test_the_checkpoints_of_the_run_are_laid_out_with_their_losses(server, prompt, dataset):
    outputs = server.run(prompt)["outputs"]
    (table,) = outputs["compare"]["text"]
    rows = [line.split(" | ") for line in table.splitlines() if line.count(" | ") == 6]
    names, *rows = rows
    assert names[3:] == ["obedience", "recall", "leakage", "drift"]
    files = ["at-step00000001", "at-step00000002", "steps-00000002"]
    assert [row[:2] for row in rows] == [[name, level] for name in files for level in "01"]
    assert {row[2].split()[0] for row in rows if row[1] == "0"} == {"+0.00000"}
    assert len(outputs["shown"]["images"]) == 2
