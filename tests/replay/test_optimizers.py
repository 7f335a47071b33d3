"""The recorded optimisers replay, and wrong numbers are seen."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from pack.replay.case import Unsupported
from pack.replay.optimizers import cases


@pytest.fixture
def copy(golden, tmp_path):
    for name in ("optimizers.json", "optimizers.safetensors"):
        shutil.copy(golden / name, tmp_path)
    return tmp_path


def failed(folder):
    return [case.name for case in cases(folder) if not case.passed]


@pytest.mark.slow
def test_every_recorded_run_passes(golden):
    found = list(cases(golden))
    assert len(found) == 12 * 3 + 3 and all(case.passed for case in found)


@pytest.mark.parametrize("name", ["AdamW.0", "Prodigy_opts.2", "RAdamScheduleFree.eval.1"])
def test_a_wrong_parameter_fails(copy, name):
    tensors = load_file(copy / "optimizers.safetensors")
    tensors[name][0] += 1e-4
    save_file(tensors, copy / "optimizers.safetensors")
    point = "averaged" if ".eval" in name else "parameters"
    assert failed(copy) == [f"optimizers/{name.split('.')[0]} {point}"]


def test_a_wrong_rate_or_class_fails_and_an_unknown_optimiser_is_named(copy):
    recorded = json.loads((copy / "optimizers.json").read_text())
    recorded["runs"]["Prodigy"]["lr_and_d_after_step"][4]["d"] *= 1.001
    recorded["runs"]["Lion"]["reported_name"] = "other"
    recorded["runs"]["AdamW"]["optimizer_type"] = "Sophia"
    (copy / "optimizers.json").write_text(json.dumps(recorded))
    found = list(cases(copy))
    (missing,) = (str(c) for c in found if isinstance(c, Unsupported))
    assert missing.startswith("AdamW: optimizer_type is 'Sophia';")
    wrong = [c.name for c in found if not isinstance(c, Unsupported) and not c.passed]
    assert wrong == ["optimizers/Lion class", "optimizers/Prodigy rates"]
