"""The report of a run: what is in it, and that no name of the user's is."""

import json
import zipfile
from pathlib import Path

import pytest

from pack.tests.trainer.runs.test_run_list import make
from pack.trainer.lora_files.metadata import VERSION
from pack.trainer.runs.report import without_names, write_report
from pack.trainer.runs.run_list import find_run

LOG = """2026-01-01 10:00:00,000 INFO LoRA Loop: new run; step 3/9 · 1.5 it/s
2026-01-01 10:00:01,000 WARNING LoRA Loop: /home/mia/My Pictures/secret one.png is broken
2026-01-01 10:00:02,000 ERROR ended by ValueError: The cache is missing 2 (first: holiday/beach.jpg)
  File "/opt/ComfyUI/custom_nodes/lora-loop/trainer/loop.py", line 12, in run
"""


@pytest.fixture
def run(tmp_path):
    path = make(tmp_path / "runs", 1, results=("steps-00000004",), states=(4,))
    (path / "run.log").write_text(LOG, "utf-8")
    (path / "steps.csv").write_text("step,loss\n1,0.5\n")
    (path / "lock.json").write_text('{"host": "mia", "pid": 1}')
    described = json.loads((path / "run.json").read_text())
    described["about"] = {"folder": "D:\\Bilder\\mia", "trigger": "sks"}
    (path / "run.json").write_text(json.dumps(described))
    return find_run(tmp_path / "runs", path.name)


def written(run, tmp_path, **options):
    path = write_report(run, tmp_path / "reports" / "x.zip", {"comfyui": "0.30.0"}, **options)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_what_is_in_it(run, tmp_path):
    found = written(run, tmp_path, names=False)
    assert found.keys() == {
        "versions.json", "files.txt", "run.json", "run.log", "steps.csv", "steps-00000004.json",
    }  # fmt: skip
    versions = json.loads(found["versions.json"])
    assert (versions["lora_loop"], versions["comfyui"]) == (VERSION, "0.30.0")
    assert versions["status"] == "finished" and versions["torch"] and versions["python"]
    assert json.loads(found["steps-00000004.json"]) == {"losses": [0.5]}
    assert json.loads(found["run.json"])["config"]["lora"]["rank"] == 32
    assert "1,000  state-00000004" in found["files.txt"]


def test_no_name_of_the_users_is_in_it(run, tmp_path):
    everything = "\n".join(written(run, tmp_path, names=False).values())
    for name in ("mia", "Pictures", "secret", "holiday", "beach", "Bilder", "/opt"):
        assert name not in everything
    assert "step 3/9 · 1.5 it/s" in everything and '<path>/loop.py", line 12' in everything


def test_names_stay_if_they_are_allowed(run, tmp_path):
    found = written(run, tmp_path, names=True)
    assert found["run.log"] == LOG and "Bilder" in found["run.json"]


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("loss 0.5, 3/4 steps at 1.2 s/it", "loss 0.5, 3/4 steps at 1.2 s/it"),
        ("cannot read C:\\Users\\Mia B\\a.txt: gone", "cannot read <path>: gone"),
        ("from '/data/my set/x y.png'", "from '<path>"),
        ("~/pics is empty", "<path>"),
        ("a/b/c.PNG and model.safetensors", "<file> and <file>"),
        ("\\\\server\\share\\x", "<path>"),
        ("lora_unet_input_blocks_4_1.alpha", "lora_unet_input_blocks_4_1.alpha"),
    ],
)
def test_names_are_found(text, hidden):
    assert without_names(text) == hidden


def test_home_is_hidden(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/jo doe"))
    assert "jo" not in without_names("in '/home/jo doe' and more")
