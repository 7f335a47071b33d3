"""Faults that a first run on a card would meet, planted: the rehearsal refuses each of them."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from pack.bench.counted.card import Mixed
from pack.tests.host.card.rehearsal import SENT
from pack.trainer.batches.training_data import Batch
from pack.trainer.config.loss import LossConfig
from pack.trainer.device.transfer import send
from pack.trainer.network.adapters.lora import Lora
from pack.trainer.sdxl.schedule import Schedule
from pack.trainer.training import preservation
from pack.trainer.training.gradients import Gradients

pytestmark = pytest.mark.main_host


def table_of_the_host(patch):
    patch.setattr(Schedule, "to", lambda schedule, device: schedule)


def tensor_that_stays_behind(patch):
    to = Batch.to
    patch.setattr(
        Batch,
        "to",
        lambda batch, *a, **k: dataclasses.replace(to(batch, *a, **k), weights=batch.weights),
    )


def after_gradients(patch, act):
    call = Gradients.__call__

    def called(gradients, micro):
        losses = call(gradients, micro)
        act(losses, micro)
        return losses

    patch.setattr(Gradients, "__call__", called)


def number_that_is_read(patch):
    after_gradients(patch, lambda losses, micro: losses.samples.mean().item())


def branch(patch):
    after_gradients(patch, lambda losses, micro: 1 if losses.samples.isfinite().all() else 0)


def copy_more(patch):
    after_gradients(patch, lambda losses, micro: send(torch.zeros(1), losses.samples.device))


def adapter_in_float32(patch):
    def plain(adapter, x):
        added = F.linear(F.linear(x.float(), adapter.down), adapter.up) * adapter.scale
        return added.to(x.dtype)

    patch.setattr(Lora, "plain", plain)


def index_of_the_host(patch):
    patch.setattr(preservation, "_of", lambda tensor, rows: tensor[rows])


PLANTS = {
    table_of_the_host: "tensors of card and host",
    tensor_that_stays_behind: "tensors of card and host",
    number_that_is_read: "step 1 waits",
    branch: "step 1 waits",
    index_of_the_host: "step 1 waits",
    adapter_in_float32: "step 1: Counter.*mm",
    copy_more: "send",
}


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_refused(on_card, monkeypatch, plant):
    """The plants: the table of the schedule, or a tensor of each batch, is never sent; the mean loss is read
    in the middle of a step; a branch depends on the losses; a tensor of the card is indexed by a list; an
    adapter computes in float32; one copy more is sent for each batch."""
    plant(monkeypatch)
    clip = on_card.parts.clip if plant is index_of_the_host else None
    loss = LossConfig(preservation=1.0 if clip else 0.0)
    with pytest.raises((Mixed, AssertionError), match=PLANTS[plant]):
        on_card.train(steps=1, loss=loss, clip=clip)
        on_card.check(sent=SENT + (2 if clip else 0))
