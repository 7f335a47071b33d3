"""The GPU harness on a CPU: the same processes and tables, with the reduced SDXL."""

import json
import subprocess
import sys
from pathlib import Path

import comfy
import pytest

from pack.bench.gpu import report

ROOT = Path(__file__).resolve().parents[3]
COMFYUI = Path(comfy.__path__[0]).parent


@pytest.mark.slow
@pytest.mark.main_host
def test_one_run_of_ours_and_one_that_fails(tmp_path):
    command = [
        sys.executable, str(ROOT / "bench" / "gpu"), "speed", "--comfyui", str(COMFYUI),
        "--kohya", str(tmp_path), "--device", "cpu", "--small", "--rounds", "1",
        "--out", str(tmp_path / "out"), "--only", "kohya", "ours",
    ]  # fmt: skip
    subprocess.run(command, check=True, timeout=500)
    found = json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))
    assert found["facts"]["parity"][0]["passed"]
    rows = {row["name"]: row for row in found["rows"]}
    assert rows["ours"]["ms"] > 0
    assert rows["ours"]["last_loss"] < 10
    assert "log.txt" in rows["kohya"]["error"]  # there is no sd-scripts in that folder
    table = (tmp_path / "out" / "results.md").read_text("utf-8")
    assert "| ours | 1 | 1 |" in table
    assert "- kohya, batch 1, round 1: " in table


@pytest.mark.main_host
def test_rounds_become_medians():
    rows = [
        {"name": "ours", "round": n + 1, "batch": 2, "ms": ms, "p10": ms, "p90": ms}
        for n, ms in enumerate((100.0, 400.0, 200.0))
    ]
    rows += [{"name": "other", "round": 1, "batch": 2, "ms": 400.0, "p10": 1.0, "p90": 1.0}]
    facts = {
        "device": "card", "torch": "2", "peak_tflops": 750.5, "copy_gb_per_s": 20.0, "sm_clock": "1",
    }  # fmt: skip
    found = {"plan": "speed", "small": False, "facts": facts, "rows": rows, "left_out": ["late"]}
    table = report.markdown(found).splitlines()
    cells = {line.split(" | ")[0]: line.split(" | ")[1:9] for line in table if line[:2] == "| "}
    assert cells["| ours"] == ["2", "3", "10.00", "1.00", "200.0", "200.0", "200.0", "20.0"]
    assert cells["| other"][2:4] == ["5.00", "0.50"]
    assert table[-1] == "- late"
