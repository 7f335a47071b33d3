"""The checks of a first run on a card, as far as they can be gone through without one."""

import argparse
import io
import time
from importlib import import_module
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from pack.bench.gpu import bare_host
from pack.bench.gpu.first import attention, checking, report, session, watching
from pack.bench.gpu.first.plan import CHECKS, NEEDED, SPEED
from pack.bench.gpu.first.verdicts import Place, measured, verdict
from pack.bench.gpu.plans import SPEED as WAYS
from pack.nodes.host.training.descent import Descent

pytestmark = pytest.mark.main_host

ROOT = Path(__file__).resolve().parents[3]


def test_every_check_can_be_begun_and_all_of_them_fit_into_nine_minutes():
    for check in CHECKS:
        assert callable(import_module(f"pack.bench.gpu.first.{check.module}").check)
        assert check.seconds <= check.most
    assert sum(check.seconds for check in CHECKS) < 8 * 60
    assert {way.name for way in WAYS} >= set(SPEED)


def attention_rows(tmp_path):
    first, *rows = attention.check(Place(True, torch.device("cpu"), tmp_path))
    assert torch.__version__ in first["text"]
    return rows


def test_attention_is_compared_with_float32(tmp_path):
    rows = attention_rows(tmp_path)
    assert [row["verdict"] for row in rows] == ["PASS", "PASS", "NEEDS A CARD"]


@pytest.mark.parametrize("plant", ["values", "gradients", "not finite", "raises"])
def test_attention_that_is_wrong_in_16_bits_fails(tmp_path, monkeypatch, plant):
    """Planted: a scale, a gradient that is cut off, a NaN, a kernel that there is not."""
    plain = F.scaled_dot_product_attention

    def planted(q, k, v):
        out = plain(q, k, v)
        if q.dtype != torch.float16:
            return out
        if plant == "raises":
            raise RuntimeError("No available kernel.")
        if plant == "gradients":
            return plain(q, k.detach() + 0 * k, v)
        return out * (1.1 if plant == "values" else float("nan"))

    monkeypatch.setattr(F, "scaled_dot_product_attention", planted)
    first, second, _ = attention_rows(tmp_path)
    assert first["verdict"] == ("NUMBERS" if plant == "raises" else "FAIL")
    assert second["verdict"] == "PASS"


GPU_TIER = sorted(file.stem for file in (ROOT / "tests" / "gpu").glob("test_*.py"))


@pytest.mark.parametrize("name", GPU_TIER)
def test_the_gpu_tier_uses_names_that_there_are(name, monkeypatch):
    """It runs nowhere without a card, where one file once imported a function that was gone."""
    monkeypatch.setenv("LORA_LOOP_GPU_DEVICE", "cpu")
    if name == "test_kernels":
        pytest.importorskip("triton")
    assert import_module(f"pack.tests.gpu.{name}").__doc__


def test_dynamic_vram_is_not_switched_on_behind_the_models(monkeypatch):
    """Here they have been imported without its library, as once in the gpu tier, and would find none."""
    control = pytest.importorskip("comfy_aimdo.control")
    monkeypatch.setattr(control, "lib", None)
    with pytest.raises(RuntimeError, match="before the library"):
        bare_host.enable_dynamic_vram()


class Waits(RuntimeError):
    """What a check may fail with."""


def test_an_error_in_a_check_is_its_finding(monkeypatch, tmp_path):
    def fails(place):
        yield measured("something")
        raise Waits("the card is gone\nand more")

    monkeypatch.setattr(attention, "check", fails)
    task = {"module": "attention", "device": "cpu", "small": True, "cap": 0.0, "settings": {}}
    rows = []
    checking.run_check(task, tmp_path, rows.append)
    assert [row.get("verdict") for row in rows] == ["NUMBERS", "FAIL", None]
    assert rows[1]["text"] == "Waits: the card is gone" and rows[2] == {"ended": True}


def test_memory_that_ran_out_is_noted_in_words(monkeypatch):
    """The error itself would keep the tensors of its step on the card, and the next rung would fail for them."""
    monkeypatch.setattr(Descent, "note", lambda self, error: None)
    with watching.noted_descents() as said:
        Descent.note(None, torch.OutOfMemoryError("CUDA out of memory"))
        Descent.note(None, KeyboardInterrupt())
    assert said == ["CUDA out of memory"]


def test_what_was_found_is_written_row_by_row_and_what_had_no_time_is_named(monkeypatch, tmp_path):
    """One check is killed in its middle, and the second begins all the same; the rest has no time."""
    table, seen = tmp_path / "results.md", []

    def rows_of(task, options, log, seconds):
        yield measured(f"{task['name']} took 3 ms", path="Triton")
        seen.append(table.read_text("utf-8"))
        if task["name"] != CHECKS[0].name:
            yield verdict(True, "all is well")
            yield {"ended": True}
            clock[0] += 1000.0

    clock = [0.0]
    monkeypatch.setattr(session, "rows_of", rows_of)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    options = argparse.Namespace(out=tmp_path, device="cuda", small=False)
    session.FirstRun(options, io.StringIO(), 500.0).run(CHECKS[:3])
    assert f"{CHECKS[0].name} took 3 ms" in seen[0]
    text = table.read_text("utf-8")
    assert "1 FAIL, 2 NUMBERS, 1 PASS" in text
    assert "its process ended early, after 60 s at most" in text
    assert text.endswith(f"- {CHECKS[2].name}: no time was left\n")
    assert f"- Triton: {NEEDED['Triton']}.\n  - {CHECKS[0].name} took 3 ms" in text


def test_without_any_row_the_figures_that_are_missing_are_named():
    text = report.markdown({"date": "", "command": "", "checks": [], "left_out": []})
    assert text.count("no figure yet") == len(NEEDED)
