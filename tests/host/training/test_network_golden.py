"""What kohya made of network arguments replays on ComfyUI's UNet, and wrong numbers are seen."""

import json
import shutil

import pytest

from pack.replay.case import Unsupported
from pack.replay.network_misc import cases


@pytest.fixture
def changed(golden, tmp_path):
    """A function: change the recorded numbers; the names of the cases that then fail."""
    (tmp_path / "train").mkdir()
    for name in ("train.json", "base_unet.safetensors", "lora_final_l2.safetensors"):
        shutil.copy(golden / "train" / name, tmp_path / "train")

    def replay(change):
        recorded = json.loads((golden / "network_misc.json").read_text("utf-8"))
        change(recorded)
        (tmp_path / "network_misc.json").write_text(json.dumps(recorded), "utf-8")
        return [str(c) if isinstance(c, Unsupported) else c.name for c in cases(tmp_path)
                if isinstance(c, Unsupported) or not c.passed]  # fmt: skip

    return replay


def test_everything_recorded_passes(changed):
    assert changed(lambda recorded: None) == []


def test_every_wrong_number_is_seen(changed):
    def spoil(recorded):
        recorded["loraplus"]["groups"][1]["lr"] *= 1.0001
        recorded["loraplus_unet"]["groups"][0]["n_tensors"] -= 1
        recorded["block_lr"]["block_lr_weight"][14] += 1e-6
        recorded["block_lr"]["modules"] += 1
        next(iter(recorded["block_dims"]["modules"].values()))[1] = 7.0
        norms = recorded["scale_weight_norms"]
        norms["keys_scaled"] += 1
        norms["mean_norm"] += 1e-5
        norms["max_norm_after"] -= 1e-5
        first = next(iter(norms["norm_before"]))
        norms["norm_before"][first] += 1e-5
        norms["down_up_norms_after"][first][1] += 1e-5

    assert changed(spoil) == [
        "network_misc/loraplus rates",
        "network_misc/loraplus_unet groups",
        "network_misc/block_lr weights",
        "network_misc/block_lr modules",
        "network_misc/block_dims modules",
        "network_misc/scale_weight_norms norms before",
        "network_misc/scale_weight_norms factors after",
        "network_misc/scale_weight_norms mean",
        "network_misc/scale_weight_norms largest",
        "network_misc/scale_weight_norms count",
    ]


def test_arguments_that_are_not_built_are_named(changed):
    def other(recorded):
        recorded["loraplus"]["args"] = {"loraplus_lr_ration": "16"}

    (missing,) = changed(other)
    assert missing.startswith("network_misc/loraplus: network_args has loraplus_lr_ration;")
