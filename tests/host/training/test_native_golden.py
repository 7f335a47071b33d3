"""Recorded runs of kohya's own LoHa, LoKr and OFT replay on ComfyUI's UNet, and wrong numbers are seen."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from pack.replay.case import Unsupported
from pack.replay.train_native import cases


@pytest.fixture
def some(golden, tmp_path):
    """A function: the recording with the runs of these names alone, each of so many steps changed."""
    (tmp_path / "train").symlink_to(golden / "train")
    shutil.copytree(golden / "train_native", tmp_path / "train_native")

    def keep(*names, **changes):
        path = tmp_path / "train_native" / "native.json"
        recorded = json.loads(path.read_text("utf-8"))
        runs = {name: {**recorded["runs"][name], **changes} for name in names}
        path.write_text(json.dumps({**recorded, "runs": runs}), "utf-8")
        return tmp_path

    return keep


@pytest.mark.slow
@pytest.mark.main_host
@pytest.mark.parametrize("run", ["loha", "lokr", "lokr_whole", "oft"])
def test_recorded_runs(some, run):
    found = list(cases(some(run)))
    assert [case.name for case in found] == [
        f"train/{run} {w}" for w in ("loss", "delta", "weights")
    ]
    assert [case for case in found if not case.passed] == []


@pytest.mark.slow
@pytest.mark.main_host
def test_wrong_numbers_are_seen(some):
    folder = some("oft")
    path = folder / "train_native" / "final_oft.safetensors"
    final = load_file(path)
    save_file({key: tensor * 1.1 for key, tensor in final.items()}, path)
    assert [case.passed for case in cases(folder)] == [True, False, False]


def test_settings_that_are_not_built_are_named(some):
    network = {
        "network_module": "networks.loha",
        "network_dim": 1,
        "network_args": ["use_tucker=True"],
    }
    (found,) = cases(some("loha", network=network))
    assert isinstance(found, Unsupported) and "use_tucker=True" in str(found)
