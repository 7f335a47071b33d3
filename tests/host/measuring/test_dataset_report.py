"""Dataset Report inside ComfyUI: what it says, keeps and flags, and whether it finds what spoils a set."""

import dataclasses
import json
import re

import pytest
import torch

from pack.bench.dataset_report import SEEDS, STEPS, examine
from pack.nodes.host.dataset.page.findings import FOUND
from pack.nodes.host.measuring import dataset_report as reporting
from pack.nodes.host.measuring.kept_reports import NAME, restore
from pack.nodes.host.training import train as training
from pack.tests.host import scene
from pack.trainer.config.measuring import MeasureConfig
from pack.trainer.config.validation import ValidationConfig
from pack.trainer.lora_files.file import LoraModel
from pack.trainer.validation.dataset_report import FLAGS

pytestmark = [pytest.mark.main_host, pytest.mark.slow]

SETTINGS = MeasureConfig(timesteps=2, seeds=1)
HELD_OUT = ValidationConfig(2, every=1, timesteps=2, keep_best=True)


@pytest.fixture
def cached(tiny, tmp_path):
    folder = scene.write_pictures(tmp_path / "set", count=10, sizes=((64, 64),))
    return scene.cache(tiny, folder, tmp_path / "cache")


def report(tiny, cached, lora):
    with torch.inference_mode():
        return reporting.dataset_report(tiny.model, tiny.clip, cached, lora, SETTINGS)


def test_it_tells_of_every_image_and_keeps_and_flags_what_it_found(tiny, cached, monkeypatch):
    config = scene.config(steps=3, validation=HELD_OUT)
    with torch.inference_mode():
        result, _ = training.train_lora(scene.request(tiny, cached, config))
    best = result.path.with_name("best-00000002.safetensors")  # whichever was best
    next(result.path.parent.glob("best-*.safetensors")).rename(best)
    judge = reporting.judge

    def flagging(*given):
        first, *others = judge(*given)
        others = [one._replace(flag=None) for one in others]
        return [first._replace(flag="hard", reason="it is < & hard"), *others]

    monkeypatch.setattr(reporting, "judge", flagging)
    text, sheet = report(tiny, cached, result.lora)
    assert text.startswith("1 of 8 images stand out")
    assert "images trained on: at the best step (2) " in text
    assert "(8 images × 2 timesteps × 1 seeds) against the start" in text
    assert "images held out: with this LoRA (step 3 of 3) " in text and "(2 images ×" in text
    assert text.count("\n  set/picture_") == 8 and "\nhard: 1\n" in text
    assert sheet.shape[0] == 1 and sheet.shape[3] == 3 and sheet.shape[2] == 4 * 256
    kept = json.loads((result.path.parent / NAME).read_text("utf-8"))["images"]
    assert len(kept) == 8 and kept[0]["flag"] == "hard" and not any(i["flag"] for i in kept[1:])
    assert set(kept[0]["losses"]) == {"start", "best", "lora"}
    samples = {str(one.path): one for _, one in cached.dataset.samples()}
    first, second = (samples[image["path"]] for image in kept[:2])
    for restored in (False, True):
        assert FOUND.of(first)["hard"] == "it is < & hard"
        assert FOUND.of(second) == dict.fromkeys(FLAGS, "")
        if not restored:  # as after a restart
            FOUND.add([first, second], FLAGS, {})
            restore()
    FOUND.add([first], FLAGS, {})
    (result.path.parent / NAME).write_text('{"images": [{"path": 3}]}', "utf-8")
    restore()  # a damaged one is passed over
    assert FOUND.of(first)["hard"] == ""


def test_a_lora_from_elsewhere_is_measured_and_nothing_kept(tiny, cached, tmp_path):
    stem = "lora_unet_time_embed_0"
    rows, columns = tiny.model.model.diffusion_model.time_embed[0].weight.shape
    factors = {"lora_down.weight": torch.ones(1, columns), "lora_up.weight": torch.ones(rows, 1)}
    lora = LoraModel({f"{stem}.{name}": value for name, value in factors.items()}, {})
    text, _ = report(tiny, dataclasses.replace(cached, text_fingerprint=None), lora)
    assert "the LoRA's run is not here" in text and "of 10 images" in text
    assert "images trained on: with this LoRA " in text
    for row in text.splitlines():  # what an image's loss went to is what its losses say
        if told := re.search(r"went to (\d+)[\d.]*% .*start ([\d.]+), lora ([\d.]+)", row):
            went, start, after = map(float, told.groups())
            assert went == pytest.approx(100 * after / start, abs=1.1)
    text, _ = report(tiny, dataclasses.replace(cached, items=cached.items[:1]), lora)
    assert text.startswith("1 image was trained on: too few") and "its loss went to " in text
    assert not list(tmp_path.rglob(NAME))


def test_what_spoils_a_set_comes_first(tmp_path):
    """Seven flaws among 24 images, as docs/curation.md measures them."""
    found = examine(tmp_path / "set", seed=SEEDS[1], steps=STEPS)
    assert (found.flawed, found.images) == (7, 24)
    assert found.first >= 6, found.wrong
    assert found.right >= 5 and found.flagged - found.right <= 1
