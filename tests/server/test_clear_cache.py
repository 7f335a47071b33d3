"""Clearing the cache between two Queues, while ComfyUI still holds what Cache Latents gave."""

import pytest

from pack.tests.server import graphs

pytestmark = pytest.mark.slow


@pytest.fixture
def prompt(request, example):
    return graphs.training_only(graphs.small(example("train_and_preview"), request.node.name))


def clear(server, object_info, **values):
    prompt = {}
    graphs.add(prompt, object_info, "clear", "LoraLoopClearCache", **values)
    (report,) = server.run(prompt)["outputs"]["clear"]["text"]
    return report


def test_after_clearing_the_cache_is_made_again(server, prompt, object_info):
    server.run(prompt, timeout=400)
    latents = server.base_directory / "output" / "lora_loop" / "cache" / "latents"
    runs = graphs.results(server)
    told = clear(server, object_info, unused_days=0)
    assert " would be removed\n" in told and any(latents.rglob("*.safetensors"))
    done = clear(server, object_info, unused_days=0, dry_run=False)
    assert done.split(" would be")[0].split(" removed")[0] == told.split(" would be")[0]
    assert not any(latents.rglob("*.safetensors")) and graphs.results(server) == runs
    assert clear(server, object_info, unused_days=0, dry_run=False).startswith("0 item(s)")
    train = graphs.inputs(prompt, "LoraLoopTrain")
    train["seed"] += 1
    for name in ("vae", "clip", "preview_settings"):
        train.pop(name)
    entry = server.run(prompt, timeout=400)
    assert graphs.key(prompt, "LoraLoopCacheLatents") not in graphs.cached(entry)
    assert any(latents.rglob("*.safetensors")) and len(graphs.results(server)) == len(runs) + 1
