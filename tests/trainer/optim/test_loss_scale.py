"""The loss scale follows PyTorch's own GradScaler."""

import random

import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler

from pack.trainer.optim import loss_scale
from pack.trainer.optim.loss_scale import LossScale


def test_it_is_torchs_scaler(monkeypatch):
    monkeypatch.setattr(loss_scale, "INTERVAL", 3)
    parameter, rng = nn.Parameter(torch.zeros(1)), random.Random(0)
    scaler = GradScaler("cpu", growth_interval=3)
    sgd, ours = torch.optim.SGD([parameter], lr=0.0), LossScale(torch.device("cpu"), enabled=True)
    for _ in range(200):
        loss, finite = (parameter * 1.5).sum() + 2.0, rng.random() < 0.8
        assert torch.equal(ours.scaled(loss), scaler.scale(loss))
        parameter.grad = torch.tensor([1.0 if finite else float("inf")])
        scaler.unscale_(sgd)
        scaler.step(sgd)
        scaler.update()
        ours.record(finite=finite)
        assert ours.state() == scaler.state_dict() and ours.value == scaler.get_scale()
    again = LossScale(torch.device("cpu"), enabled=True)
    again.load(scaler.state_dict())
    assert again.state() == ours.state()
    assert torch.equal(again.scaled(torch.ones(())), torch.tensor(ours.value))


def test_it_never_grows_out_of_float32(monkeypatch):
    monkeypatch.setattr(loss_scale, "INTERVAL", 1)
    scale = LossScale(torch.device("cpu"), enabled=True)
    for _ in range(200):
        scale.record(finite=True)
    assert scale.scaled(torch.ones(())).isfinite() and scale.value == 2.0**127


def test_without_float16_nothing_is_scaled():
    scale, loss = LossScale(torch.device("cpu"), enabled=False), torch.ones(())
    scale.record(finite=False)
    assert scale.scaled(loss) is loss and scale.value == 1.0 and scale.state() == {}
