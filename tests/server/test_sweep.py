"""A sweep through ComfyUI's list execution: one Queue, one run for each combination, one cache."""

import zlib

import pytest

from pack.demo.server import NodeError
from pack.tests.server import graphs

pytestmark = pytest.mark.slow

TRAIN = "LoraLoopTrain"


@pytest.fixture
def prompt(request, example, object_info):
    """Dataset, cache and Train of the example, with Sweep before and Sweep Report behind Train."""
    prompt = graphs.small(example("train_and_preview"), request.node.name)
    train = graphs.inputs(prompt, TRAIN)
    for name in ("preview_settings", "vae", "optimiser_settings", "lora_settings"):
        train.pop(name, None)
    seed = zlib.crc32(request.node.name.encode())
    numbers = {"learning_rates": "1e-3, 1e-2", "ranks": "", "seeds": f"{seed}, {seed + 1}"}
    train["run_settings"] = graphs.add(
        prompt, object_info, "sweep", "LoraLoopSweep", **numbers, steps=2, batch_size=1
    )
    train["validation_settings"] = graphs.add(
        prompt, object_info, "held out", "LoraLoopValidationSettings", held_out=1, every=1, timesteps=2
    )  # fmt: skip
    lora = [graphs.key(prompt, TRAIN), 0]
    graphs.add(prompt, object_info, "report", "LoraLoopSweepReport", loras=lora)
    return graphs.keep(prompt, "report")


def cache_files(server):
    """The files of the cache, with their times."""
    cache = server.base_directory / "output" / "lora_loop" / "cache"
    return {path: path.stat().st_mtime_ns for path in cache.rglob("*.safetensors")}


def test_four_runs_in_one_queue_and_none_in_the_second(server, prompt, dataset):
    before = graphs.results(server)
    entry = server.run(prompt)
    after = graphs.results(server)
    new = {path for path in after.keys() - before.keys() if path.name.startswith("steps-")}
    assert len(new) == 4
    (report,) = entry["outputs"]["report"]["text"]
    rows = [line.split(" | ") for line in report.splitlines() if line.count(" | ") == 5]
    assert [row[0] for row in rows[1:]] == ["learning_rate 0.001"] * 2 + ["learning_rate 0.01"] * 2
    assert "Against learning_rate" in report

    prompt["sweep"]["inputs"]["learning_rates"] = "1e-3, 0.01"  # the same, said otherwise
    again = server.run(prompt)
    assert graphs.key(prompt, TRAIN) not in graphs.cached(again)
    assert graphs.results(server) == after
    assert again["outputs"]["report"]["text"] == [report]

    made = cache_files(server)
    prompt["sweep"]["inputs"]["learning_rates"] = "1e-3, 1e-2, 2e-2"
    server.run(prompt)
    assert len(graphs.results(server).keys() - after.keys()) == 2
    assert made and cache_files(server) == made


def test_settings_beside_the_sweep_are_refused_before_any_training(
    server, prompt, dataset, object_info
):
    before = graphs.results(server)
    train = graphs.inputs(prompt, TRAIN)
    train["lora_settings"] = graphs.add(prompt, object_info, "lora", "LoraLoopLoraSettings")
    with pytest.raises(NodeError, match="connect it to Sweep instead"):
        server.run(prompt)
    assert graphs.results(server) == before
