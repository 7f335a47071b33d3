"""The report of a run: what is in it, and that no name of the user's is."""

import json
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pack.tests.trainer.runs.test_run_list import make
from pack.trainer.config.captions import CaptionConfig
from pack.trainer.config.lora import BY_BLOCK
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.lora_files.metadata import VERSION
from pack.trainer.runs.anonymous import without_names, without_values
from pack.trainer.runs.report import write_report
from pack.trainer.runs.run_list import find_run
from pack.trainer.runs.scorecard import SCORES, Scorecard, ScoredPreview, write_scorecard

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


def test_scores_are_in_it_without_tags(run, tmp_path):
    row = ScoredPreview(4, 0, 1.0, dict.fromkeys(SCORES, 0.25), tags={"leaked": ["beach house"]})
    card = Scorecard((row,), "C:\\mia\\tagger", 0.3)
    write_scorecard(run.path, card, tmp_path / "runs")
    said = "held-out loss is lowest at step 4"
    found = written(run, tmp_path, names=False, advice=said)
    assert found["when_to_stop.txt"] == said
    (kept,) = json.loads(found["scores.json"])["rows"]
    assert kept["scores"] == dict.fromkeys(SCORES, 0.25) and kept["step"] == 4
    assert "beach" not in found["scores.json"] and "mia" not in found["scores.json"]


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


@pytest.mark.parametrize(
    "text",
    [
        "/data/Zenobia's set/Quillfeather.png is broken",
        '/data/the "best" Zenobia set/x.png is broken',
        "/data/a:b/Zenobia is broken",
        "/data/a*b?/Zenobia is broken",
        "../Zenobia set/x is broken",
        "./Zenobia is broken",
        "~zenobia/x is broken",
        "file:///home/zenobia/x",
        "folder=/home/zenobia/x",
        "D:/Zenobia/x and E:\\\\Quillfeather\\\\y",
        "D:\\Zenobia\\x",
        "d%3A%5CZenobia%20Q%5Cx.png",
        "%2Fhome%2Fzenobia%2Fx",
        '{"folder": "D:\\\\Zenobia\\\\x", "other": "\\/home\\/zenobia"}',
        "\\\\nas\\Zenobia\\x",
        "/mnt/c/Users/zenobia",
        "3_Zenobia: no usable image",
        "img/3_Zenobia",
        "Zenobia Quillfeather.png is broken",
        "zenobia quillfeather.caption is broken",
        "Zenobia.TOML, Zenobia.npz, zenobia.tar.gz",
        "the trigger Zenobia is missing",
        "captions prefix zenobia, red hat instead of quillfeather",
        "caption 'a zenobia in the rain' has no tags",
        'the caption "quillfeather" of zenobia_0001',
        "zénobia and Ζηνοβία and \u5f35\u4e09 and \\u5f35\\u4e09 and %E5%BC%A0",
        "checkpoint zenobia-step00000010",
        "process 5 on zenobia-pc.local",
    ],
)
def test_nothing_of_a_name_is_left(text):
    left = without_names(text).lower()
    assert not [
        part
        for part in (
            "zenobia",
            "quillf",
            "zénob",
            "ζην",
            "5f35",
            "4e09",
            "\u5f35",
            "%e5",
            "rain",
            "best",
        )
        if part in left
    ]


@pytest.mark.parametrize("name", ["train", "Step-9", "a.b"])
def test_names_that_the_pack_says_as_well_are_looked_for(name):
    assert name.lower() not in without_names(f"{name}, of {name.upper()}_2", [name]).lower()


def test_what_the_pack_says_stays():
    for text in (
        "LoRA Loop: 794 adapted layers; rank 32, conv 3x3, bf16, 1.5e-05",
        "run 0123456789abcdef goes on after step 250",
        "ended by ValueError: steps is 0; it must be 1 or more",
        "RuntimeError: CUDA out of memory. Tried to allocate 2.50 GiB.",
        "optimiser type 'Prodigy' instead of 'AdamW'",
    ):
        assert without_names(text) == text


def test_settings_that_are_texts_are_hidden():
    config = TrainConfig(
        captions=CaptionConfig(prefix="photo of a woman", keep_tokens_separator="|||"),
        optimiser=OptimiserConfig(
            arguments=("betas=(0.9, 0.99)", "foreach=False"), step_rules="1:10,0.1"
        ),
    )
    given = json.loads(json.dumps(config.to_dict()))
    shown = without_values(given)
    assert shown["captions"]["prefix"] == shown["captions"]["keep_tokens_separator"] == "<text>"
    assert shown["optimiser"]["arguments"] == ["betas=(0.9, 0.99)", "foreach=False"]
    assert (shown["optimiser"]["type"], shown["optimiser"]["step_rules"]) == ("AdamW", "1:10,0.1")
    assert shown["checkpointing"] == "auto" and shown["lora"] == given["lora"] | {
        name: [] for name in BY_BLOCK
    }


def test_of_a_packed_run_no_file_holds_a_name(run, tmp_path, monkeypatch):
    """Names of every origin, put into every file of the run and into the names of files."""
    monkeypatch.setenv("LOGNAME", "train")
    monkeypatch.setattr("socket.gethostname", lambda: "cache-7.step.example")
    monkeypatch.setattr("platform.platform", lambda: "Linux-6.1-cache-7-x86_64")
    (run.path / "zenobia.json").write_text('{"a": 1}')
    (run.path / "zenobia.png").write_bytes(b"")
    said = "of train at cache-7: Zenobia quillfeather.png in D:\\Zenobia\\Quillfeather"
    for file in run.path.iterdir():
        if file.suffix == ".json":
            held = json.loads(file.read_text()) | {"stopped": said, "zenobia": [said, {"x": said}]}
            file.write_text(json.dumps(held))
        elif file.suffix in (".csv", ".log"):
            file.write_text(f"{file.read_text()}{said}\n")
    metadata = {
        "modelspec.trigger_phrase": "gradient",
        "ss_output_name": "optimiser",
        "ss_dataset_dirs": json.dumps({"3_resolution": {}}),
    }
    save_file({"a": torch.zeros(1)}, run.results[-1], metadata)
    with (run.path / "run.log").open("a") as log:
        log.write("gradient, optimiser, 3_resolution and resolution were names\n")
    found = written(run, tmp_path, names=False)
    everything = "\n".join([*found, *found.values()]).lower()
    for name in ("zenobia", "quillfeather", "train ", "cache-7", "gradient", "resolution"):
        assert name not in everything.replace("train config", "")
    assert "zenobia" in "\n".join(written(run, tmp_path, names=True)).lower()


def test_a_log_of_any_size_is_read_from_its_end(run, tmp_path):
    with (run.path / "run.log").open("ab") as log:
        log.truncate(1 << 31)  # a hole: nothing of it is on the disk
        log.seek(0, 2)
        log.write(b"\nthe end of step 9\n")
    assert written(run, tmp_path, names=False)["run.log"].endswith("the end of step 9\n")


def test_home_is_hidden(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/jo doe"))
    assert "jo" not in without_names("in '/home/jo doe' and more")
