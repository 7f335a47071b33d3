"""Tensors seen as the vectors that they lie in."""

import torch

from pack.trainer.device.neighbours import vectors, whole_buffer


def test_neighbours_are_one_vector():
    buffer = torch.arange(10.0)
    parts = [buffer[0:4].view(2, 2), buffer[4:6], buffer[7:10], torch.ones(3)]
    found = vectors(parts)
    assert [place for _, place in found] == [slice(0, 6), slice(6, 9), slice(9, 12)]
    assert [run.tolist() for run, _ in found] == [[0, 1, 2, 3, 4, 5], [7, 8, 9], [1, 1, 1]]
    found[0][0][5] = -1.0
    assert buffer[5] == -1.0


def test_a_whole_buffer_is_filled_in_order_and_to_its_end():
    buffer = torch.arange(6.0)
    first, second = buffer[:2], buffer[2:].view(2, 2)
    whole = whole_buffer([first, second])
    assert whole.data_ptr() == buffer.data_ptr() and torch.equal(whole, buffer)
    assert whole_buffer([second, first]) is None
    assert whole_buffer([first, buffer[2:5]]) is None
    assert whole_buffer([buffer[1:]]) is None
    assert whole_buffer([first, torch.ones(4)]) is None
