"""Triton's kernels without a GPU: interpreted, built for several cards, and chosen only where they work."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pack.trainer.config.speed import SpeedConfig
from pack.trainer.layers import kernel_choice
from pack.trainer.layers.elementwise import EAGER

CUDA = torch.device("cuda")
CASES = Path(__file__).with_name("kernel_cases.py")
FLOATS = "means", "spreads", "group_mean", "group_rstd", "sums", "products"
SIZES = "width", "pixels", "channels", "each"


@pytest.fixture
def triton():
    return pytest.importorskip("triton", reason="Triton is not installed here")


@pytest.mark.slow
def test_what_they_compute(triton):
    """In a process of its own: Triton must be told of its interpreter before it is imported."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES)],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        cwd=CASES.parents[2], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


@pytest.mark.parametrize(("capability", "dtype"), [(75, "fp16"), (80, "bf16"), (90, "fp32")])
def test_they_can_be_built_and_read_16_bytes_at_a_time(
    triton, capability, dtype, tmp_path, monkeypatch
):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from pack.trainer.layers.kernels import gating, norming

    for module, names in (
        (gating, ("_geglu", "_geglu_backward")),
        (norming, ("_moments", "_norm_silu", "_sums", "_norm_silu_backward")),
    ):
        for name in names:
            text = build(getattr(module, name), capability, dtype)
            assert re.search(r"ld\.global\.v4", text), name


def build(kernel, capability, dtype):
    """The kernel's PTX for a card of NVIDIA's and sizes that are multiples of 16."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    constants = {"BLOCK": 1024, "CHANNELS": 128}
    signature, given, aligned = {}, {}, {}
    for place, name in enumerate(kernel.arg_names):
        if name in constants:
            signature[name], given[(place,)] = "constexpr", constants[name]
            continue
        kind = {"eps": "fp32", **dict.fromkeys(FLOATS, "*fp32"), **dict.fromkeys(SIZES, "i32")}
        signature[name] = kind.get(name, f"*{dtype}")
        if signature[name][0] == "*" or name in ("width", "pixels"):
            aligned[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, given, aligned)
    return compile(source, target=GPUTarget("cuda", capability, 32)).asm["ptx"]


def chosen(caplog, device=CUDA):
    """The choice, and the one line in the log."""
    caplog.set_level(logging.INFO)
    caplog.clear()
    found = kernel_choice.choose_elementwise(device, torch.bfloat16, triton=True)
    (record,) = caplog.records
    return found, record.getMessage()


def test_none_are_used_unless_asked_for(caplog):
    assert kernel_choice.choose_elementwise(CUDA, torch.float32, triton=False) is EAGER
    assert not caplog.records


def test_none_are_used_away_from_a_gpu(caplog):
    found, line = chosen(caplog, torch.device("cpu"))
    assert found is EAGER and "the model is on cpu" in line


def test_none_are_used_where_triton_is_missing(caplog, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("pack.trainer.layers.kernels")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "triton", None)
    found, line = chosen(caplog)
    assert found is EAGER and "not installed" in line and "triton-windows" in line


def test_none_are_used_where_they_cannot_be_built(triton, caplog, monkeypatch):
    def fails(*_):
        raise OSError("no C compiler\nand more")

    monkeypatch.setattr(kernel_choice, "check", fails)
    found, line = chosen(caplog)
    assert found is EAGER and line.endswith("no C compiler")


def test_they_are_used_where_they_are_right(triton, caplog, monkeypatch):
    from pack.trainer.layers.kernels import TRITON

    monkeypatch.setattr(kernel_choice, "check", lambda *_: None)
    found, line = chosen(caplog)
    assert found is TRITON and "Triton" in line


def test_wanting_them_without_compact_layers_is_noted():
    assert "compact" in SpeedConfig(triton_kernels=True).notes(compact=False)[0]
    assert not SpeedConfig(triton_kernels=True).notes(compact=True)
    assert not SpeedConfig().notes(compact=False)
