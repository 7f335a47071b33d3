import math

import pytest
import torch
from safetensors.torch import load_file

from pack.trainer.sdxl.size_embedding import sinusoid, size_vector


def one(number):
    """256 numbers: cosines of 128 falling frequencies, then sines."""
    angles = [number * 10_000 ** (-i / 128) for i in range(128)]
    return [math.cos(a) for a in angles] + [math.sin(a) for a in angles]


def test_a_number_becomes_cosines_and_sines():
    for number in (0, 1, 37, 1024):
        found = sinusoid(torch.tensor([number]))
        assert found.shape == (1, 256) and found.dtype == torch.float32
        assert found[0].tolist() == pytest.approx(one(number), abs=2e-4)
    assert sinusoid(torch.zeros(2, 3)).shape == (2, 3, 256)


def test_the_vector_is_the_text_and_the_six_numbers_in_order():
    pooled = torch.tensor([[0.5, -1.5, 2.0]])
    sizes = (600, 800, 3, 7, 512, 640)
    y = size_vector(pooled, [sizes])
    assert y.shape == (1, 3 + 6 * 256)
    assert y[0, :3].tolist() == [0.5, -1.5, 2.0]
    for place, number in enumerate(sizes):
        part = y[0, 3 + 256 * place : 3 + 256 * (place + 1)]
        assert torch.equal(part, sinusoid(torch.tensor(float(number))))


def test_rows_do_not_mix():
    pooled = torch.arange(8.0).view(2, 4)
    sizes = [(1, 2, 3, 4, 5, 6), (600, 500, 0, 8, 64, 32)]
    both = size_vector(pooled, sizes)
    assert torch.equal(both[1:], size_vector(pooled[1:], sizes[1:]))


def test_it_is_kohyas(golden):
    tensors = load_file(golden / "losses.safetensors")
    sizes = tensors["size_embeddings.in"]
    rows = [(int(h), int(w), 3, 7, int(h), int(w)) for h, w in sizes]
    ours = size_vector(torch.zeros(len(rows), 0), rows)
    torch.testing.assert_close(ours, tensors["size_embeddings.out"], rtol=0, atol=1e-6)


def test_the_text_may_be_in_half_precision():
    y = size_vector(torch.ones(1, 2).half(), [(1, 2, 3, 4, 5, 6)])
    assert y.dtype == torch.float32
