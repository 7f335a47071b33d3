"""Optimisers on a card made of shapes (bench/counted/card.py): how often each waits for it in a step."""

from typing import get_args

import pytest
import torch
from torch import nn

from pack.bench.counted.card import CARD, Card, Counts
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.optimisers import KINDS, OWN_RATE, OptimiserType
from pack.trainer.device.transfer import send
from pack.trainer.optim.optimiser import Optimiser, ParameterGroup

SHAPES = [(8, 5000), (6,), (4, 7)]
OF_EACH = {
    "Adafactor": 1, "Prodigy": 2, "DAdaptAdaGrad": 5, "DAdaptAdam": 2, "DAdaptLion": 2, "DAdaptSGD": 2,
}  # fmt: skip
"""So often their packages read a number of each parameter, in every step."""
OF_ALL = {"Adafactor": 2, "ProdigyPlusScheduleFree": 2, "ASGD": 5}
"""And so often once a step: the rate that Adafactor has found for the event of the step; torch's ASGD counts its steps."""
NO_META = {"DAdaptation", "DAdaptAdan", "DAdaptAdanIP"}
"""They ask for a tensor by its type's name, which the meta device has not."""


def steps(kind, number=3):
    """What each step counts, from clipping on; the norm is read with the losses."""
    rate = 1.0 if kind in OWN_RATE else 1e-3
    config = OptimiserConfig(type=kind, learning_rate=rate)
    found = []
    with Card(send) as card:
        parameters = [nn.Parameter(torch.empty(shape, device=CARD)) for shape in SHAPES]
        groups = [ParameterGroup(parameters)]
        optimiser = Optimiser(groups, config, device=CARD, compute_dtype=torch.float16)
        for _ in range(number):
            card.counts = Counts()
            for parameter in parameters:
                if parameter.grad is None:
                    parameter.grad = torch.empty_like(parameter)
            optimiser.clip()
            optimiser.step(rate, norm=0.1)
            found.append(card.counts)
    return found


@pytest.mark.parametrize("kind", sorted({*get_args(OptimiserType)} - NO_META))
def test_no_optimiser_waits_more_often_than_its_package_does(kind):
    pytest.importorskip(KINDS[kind].module)
    waits = OF_EACH.get(kind, 0) * len(SHAPES) + OF_ALL.get(kind, 0)
    for step in steps(kind)[1:]:
        assert step.waits.total() == waits, step.waits
        assert step.sent.total() == (2 if kind == "ASGD" else 0), step.sent


def test_a_norm_that_is_read_is_seen(monkeypatch):
    """The plant: clipping reads what it has found."""
    clip = Optimiser.clip

    def planted(self):
        norm = clip(self)
        assert float(norm) > 0
        return norm

    monkeypatch.setattr(Optimiser, "clip", planted)
    assert [step.waits.total() for step in steps("AdamW")] == [1, 1, 1]
