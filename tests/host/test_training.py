"""Training in place leaves the MODEL as it was, however it ends."""

import torch

from pack.nodes.host import training
from pack.tests.host import scene


def test_a_normal_run(tiny, tmp_path):
    cached = scene.cache(tiny, scene.write_pictures(tmp_path / "set"), tmp_path / "cache")
    before, image = scene.snapshot(tiny.model), scene.sample(tiny.model, tiny.clip)
    before = scene.snapshot(tiny.model)
    with torch.inference_mode():
        result, _ = training.train_lora(scene.request(tiny, cached))
    after = scene.snapshot(tiny.model)
    assert [k for k in before if before[k] != after[k]] == []
    assert torch.equal(scene.sample(tiny.model, tiny.clip), image)
