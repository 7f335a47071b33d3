"""kohya's full fine-tuning replays on ComfyUI's UNet, and wrong numbers are seen."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from pack.replay import full

pytestmark = pytest.mark.main_host


@pytest.fixture(scope="module")
def replayed(golden):
    """The cases of what is recorded, and what was trained for each run."""
    kept, train = [], full._train
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(full, "_train", lambda *given: kept.append(train(*given)) or kept[-1])
        found = list(full.cases(golden))
    return found, kept


def test_everything_recorded_passes(replayed):
    found, _ = replayed
    assert {case.name.split()[0] for case in found} == {"full/adamw", "full/blocks", "full/fused"}
    assert [case for case in found if not case.passed] == []


def test_every_wrong_number_is_seen(golden, tmp_path, monkeypatch, replayed):
    _, kept = replayed
    shutil.copytree(golden / "full", tmp_path / "full")
    (tmp_path / "train").symlink_to(golden / "train")
    about = json.loads((golden / "full" / "full.json").read_text("utf-8"))
    about["runs"]["blocks"]["loss"][3] += 2e-5
    weights = load_file(tmp_path / "full" / "weights.safetensors")
    weights["adamw"][5] += 1e-3
    weights["fused"] = weights["before"] + (weights["fused"] - weights["before"]) * 1.002
    (tmp_path / "full" / "full.json").write_text(json.dumps(about), "utf-8")
    save_file(weights, tmp_path / "full" / "weights.safetensors")
    trained = iter(kept)
    monkeypatch.setattr(full, "_train", lambda *_: next(trained))
    wrong = [case.name for case in full.cases(tmp_path) if not case.passed]
    assert wrong == [
        "full/adamw delta",
        "full/adamw weights",
        "full/blocks loss",
        "full/fused delta",
    ]
