"""Attention of a training step: its numbers, and the order of PyTorch's ways of computing it."""

import threading

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from pack.trainer.device import attending
from pack.trainer.device.attending import is_fused

CPU, HALF = torch.device("cpu"), torch.float16


def ways():
    """What is enabled, most wanted first."""
    enabled = {
        SDPBackend.FLASH_ATTENTION: torch.backends.cuda.flash_sdp_enabled(),
        SDPBackend.EFFICIENT_ATTENTION: torch.backends.cuda.mem_efficient_sdp_enabled(),
        SDPBackend.MATH: torch.backends.cuda.math_sdp_enabled(),
        SDPBackend.CUDNN_ATTENTION: torch.backends.cuda.cudnn_sdp_enabled(),
    }
    order = [SDPBackend(number) for number in torch._C._get_sdp_priority_order()]
    return [way for way in order if enabled.get(way)]


FIXED = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
COMFYUI = [SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, *FIXED[1:]]


@pytest.mark.parametrize("before", [COMFYUI, [SDPBackend.MATH], FIXED[::-1]])
def test_the_order_holds_in_every_thread_and_is_put_back(before):
    """Autograd computes blocks again in threads of its own."""
    elsewhere = []
    thread = threading.Thread(target=lambda: elsewhere.append(ways()))
    with sdpa_kernel(before, set_priority=True):
        with pytest.raises(KeyError), attending.fixed_order():
            thread.start()
            thread.join()
            assert [FIXED] == elsewhere == [ways()]
            raise KeyError
        assert ways() == before


@pytest.mark.parametrize("masked", [False, True])
def test_it_is_attention(masked):
    q, k, v = torch.randn(2, 6, 12), torch.randn(2, 5, 12), torch.randn(2, 5, 12)
    mask = torch.full((6, 5), -torch.inf).triu(1) if masked else torch.zeros(6, 5)
    heads = []
    for part in range(3):
        own_q, own_k, own_v = (x[..., part * 4 : part * 4 + 4] for x in (q, k, v))
        scores = own_q @ own_k.transpose(1, 2) / 2 + mask
        heads.append(scores.softmax(-1) @ own_v)
    ours = attending.attend(q, k, v, 3, mask if masked else None)
    torch.testing.assert_close(ours, torch.cat(heads, -1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_cpu_has_one(dtype):
    assert is_fused(CPU, dtype)


def test_torch_is_asked_with_the_order_of_a_step(monkeypatch):
    monkeypatch.setattr(attending, "ORDER", [SDPBackend.MATH])
    assert not is_fused(CPU, HALF)


def test_both_kinds_of_attention_must_have_it(monkeypatch):
    """A card that has one for images, but none where keys are those of 77 tokens."""
    asked = []

    def choice(query, key, value):
        asked.append((*query.shape, key.shape[2], query.dtype, query.requires_grad))
        return (SDPBackend.FLASH_ATTENTION if key.shape[2] > 77 else SDPBackend.MATH).value

    monkeypatch.setattr(torch.ops.aten, "_fused_sdp_choice", choice)
    assert not is_fused(CPU, HALF)
    assert asked == [(1, 10, 4096, 64, tokens, HALF, True) for tokens in (4096, 77)]


@pytest.mark.parametrize("backend", [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.OVERRIDEABLE])
def test_any_kernel_will_do(monkeypatch, backend):
    monkeypatch.setattr(torch.ops.aten, "_fused_sdp_choice", lambda *_: backend.value)
    assert is_fused(CPU, HALF)


def test_what_torch_does_not_know_computes_by_single_operations(monkeypatch):
    for kind in ("mps", "privateuseone", "meta"):
        assert not is_fused(torch.device(kind), HALF)

    def unknown(*_):
        raise NotImplementedError

    monkeypatch.setattr(torch.ops.aten, "_fused_sdp_choice", unknown)
    assert not is_fused(CPU, HALF)
