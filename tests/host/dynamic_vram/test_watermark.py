"""One early peak: weights are pushed off the card, and it has room for them again afterwards."""

import itertools

import pytest
import torch

from pack.nodes.host.model import unet, weights
from pack.nodes.host.training import train as training
from pack.nodes.host.training.room_again import FIRST
from pack.tests.host import scene

pytestmark = [pytest.mark.main_host]

PEAK = 1
"""The step in which half of the UNet is evicted."""


def test_the_weights_come_back_within_the_interval(paged, monkeypatch):
    """Real aimdo evicts from the last page down, and what lies behind stays away until it is asked again.

    A forward fetches every weight of the UNet, as a real one does, and computes with one. Without
    anybody who asks again, all later steps have faults that are refused.
    """

    def predict(model, x, *_):
        for module in (one for one in model.modules() if hasattr(one, "_v")):
            weights._release(module, *weights._fetch(module, x.dtype, x.device))
        return x * model.middle_block[1].proj_in(x.new_ones(1, 128)).mean()

    monkeypatch.setattr(unet, "predict", predict)
    found = paged(steals=False)
    pages, steps = found.pages, PEAK + FIRST + 1
    refused, loaded = [0], []

    def on_step(event):
        refused.append(pages.refused)
        loaded.append(pages.by_size().prioritised)
        if event.step == PEAK:
            pages.by_size().free_memory(pages.by_size().offset // 2)

    request = scene.request(found.tiny, found.cached, scene.config(steps=steps))
    with torch.inference_mode():
        training.train_lora(request, scene.told(on_step))
    by_step = [after - before for before, after in itertools.pairwise(refused)]
    slow = [step for step, count in enumerate(by_step, start=1) if count]
    assert slow == list(
        range(PEAK + 1, PEAK + FIRST)
    )  # that step itself is the first to be counted
    assert loaded[-1] == loaded[0] + 1
