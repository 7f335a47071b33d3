"""Captions encoded again for every batch, with gradients, where the text encoders are trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable

import torch
from torch import Tensor

from ..batches.training_data import Batch
from ..cache.texts import stack_contexts
from ..network.network import Network
from .step import Model


def with_texts(model: Model, batch: Batch, network: Network | None = None) -> Batch:
    """The batch with the encodings of its samples' texts as the encoders are now.

    As it is where they are not trained: then it was loaded with its texts. Equal texts are encoded
    once, but each sample by itself where ``network`` drops something.
    """
    if model.encode is None:
        return batch
    dropout = None if network is None else network.dropout
    found: dict[Hashable, tuple[Tensor, Tensor]] = {}
    keys = [item.text if dropout is None else item for item in batch.items]
    for key, item in zip(keys, batch.items, strict=True):
        assert item.text is not None  # the batch plan has set the text
        if key in found:
            continue
        if network is None or dropout is None:
            found[key] = model.encode(item.text)
        else:
            with network.dropping(dataclasses.replace(dropout, items=(item,), timesteps=None)):
                found[key] = model.encode(item.text)
    contexts, pooled = zip(*(found[key] for key in keys), strict=True)
    context = stack_contexts(contexts).to(batch.y)
    return dataclasses.replace(
        batch, context=context, y=torch.cat([torch.stack(pooled).to(batch.y), batch.y], dim=1)
    )
