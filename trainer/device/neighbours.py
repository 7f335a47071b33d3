"""Tensors that follow each other in one piece of memory, seen as the one vector that they are."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def vectors(tensors: Sequence[Tensor]) -> list[tuple[Tensor, slice]]:
    """Contiguous tensors as vectors over the same memory, neighbours as one; and which of all numbers each has."""
    runs: list[tuple[Tensor, slice]] = []
    start = 0
    last: tuple[int, int] | None = None
    for tensor in tensors:
        storage, count = tensor.untyped_storage()._cdata, tensor.numel()
        offset = int(tensor.storage_offset())
        if last == (storage, offset):
            run, place = runs[-1]
            longer = run.as_strided((run.numel() + count,), (1,), run.storage_offset())
            runs[-1] = longer, slice(place.start, start + count)
        else:
            runs.append((tensor.detach().flatten(), slice(start, start + count)))
        last = storage, offset + count
        start += count
    return runs


def whole_buffer(tensors: Sequence[Tensor]) -> Tensor | None:
    """The buffer that tensors fill one after the other, as a vector; None where they do not."""
    (vector, _), *more = vectors(tensors)
    is_whole = vector.untyped_storage().nbytes() == vector.numel() * vector.element_size()
    return None if more or not is_whole else vector
