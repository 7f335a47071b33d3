"""Captions encoded anew for every batch, with gradients to the text encoders' adapters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from .batches import BatchItem
from .data import Batch
from .texts import Encode, stack_contexts

Dropping = Callable[[BatchItem], AbstractContextManager[None]]
"""While open, the adapters go without what this showing goes without."""


def with_texts(batch: Batch, encode: Encode, dropping: Dropping | None = None) -> Batch:
    """The batch, loaded without texts, with the encodings of its showings' texts as they are now.

    Equal texts are encoded once, unless something is dropped for each showing by itself.
    """
    found: dict[Hashable, tuple[Tensor, Tensor]] = {}
    keys = [item.text if dropping is None else item for item in batch.items]
    for key, item in zip(keys, batch.items, strict=True):
        assert item.text is not None  # the plan of the steps has worded it
        if key not in found:
            with nullcontext() if dropping is None else dropping(item):
                found[key] = encode(item.text)
    contexts, pooled = zip(*(found[key] for key in keys), strict=True)
    y = torch.cat([torch.stack(pooled).to(batch.y), batch.y], dim=1)
    return dataclasses.replace(batch, context=stack_contexts(contexts), y=y)
