"""Which devices have a kernel of their own for attention."""

import pytest
import torch
from torch.nn.attention import SDPBackend

from pack.trainer.device import attention
from pack.trainer.device.attention import fused_attention

CPU, HALF = torch.device("cpu"), torch.float16


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_cpu_has_one(dtype):
    assert fused_attention(CPU, dtype)


def test_torch_is_asked_with_what_training_allows(monkeypatch):
    monkeypatch.setattr(attention, "ALLOWED", [SDPBackend.MATH])
    assert not fused_attention(CPU, HALF)


def test_both_kinds_of_attention_must_have_it(monkeypatch):
    """A card that has one for images, but none where keys are those of 77 tokens."""
    asked = []

    def choice(query, key, value):
        asked.append((*query.shape, key.shape[2], query.dtype, query.requires_grad))
        return (SDPBackend.FLASH_ATTENTION if key.shape[2] > 77 else SDPBackend.MATH).value

    monkeypatch.setattr(torch, "_fused_sdp_choice", choice)
    assert not fused_attention(CPU, HALF)
    assert asked == [(1, 10, 4096, 64, tokens, HALF, True) for tokens in (4096, 77)]


@pytest.mark.parametrize("backend", [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.OVERRIDEABLE])
def test_any_kernel_will_do(monkeypatch, backend):
    monkeypatch.setattr(torch, "_fused_sdp_choice", lambda *_: backend.value)
    assert fused_attention(CPU, HALF)


def test_what_torch_does_not_know_computes_by_single_operations(monkeypatch):
    for kind in ("mps", "privateuseone", "meta"):
        assert not fused_attention(torch.device(kind), HALF)

    def unknown(*_):
        raise NotImplementedError

    monkeypatch.setattr(torch, "_fused_sdp_choice", unknown)
    assert not fused_attention(CPU, HALF)
