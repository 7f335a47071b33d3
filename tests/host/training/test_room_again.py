"""When room is asked for again under dynamic VRAM, and in what order things are done then."""

import contextlib
import itertools

import pytest
import torch

from pack.nodes.host.model import memory
from pack.nodes.host.model.trained_model import TrainedModel
from pack.nodes.host.training import train as training
from pack.nodes.host.training.room_again import FIRST, LONGEST, RoomAgain, paged_models
from pack.tests.host import scene
from pack.trainer.config.speed import SpeedConfig

pytestmark = pytest.mark.main_host


STEPS = 2000


def asked(monkeypatch, away):
    """The steps after which room was asked for; ``away``: (step, the last of these) -> are weights away?"""
    now, found = itertools.count(1), [0]

    @contextlib.contextmanager
    def aside():
        yield
        found.append(event)

    def paged_out(_):
        return memory.Paged(int(away(event, found[-1])), 1)

    monkeypatch.setattr(memory, "paged_out", paged_out)
    follower = RoomAgain([], aside)
    for event in itertools.takewhile(lambda step: step < STEPS, now):
        follower.on_step(event)
    return found[1:]


def test_nothing_is_asked_for_while_all_is_there(monkeypatch):
    assert asked(monkeypatch, lambda step, last: False) == []


def test_each_peak_costs_a_few_steps(monkeypatch):
    peaks = 100, 700
    found = asked(monkeypatch, lambda step, last: any(last < peak <= step for peak in peaks))
    assert found == [peak + FIRST - 1 for peak in peaks]


def test_what_never_fits_is_asked_for_ever_less_often(monkeypatch):
    found = asked(monkeypatch, lambda step, last: True)
    waits = [after - before for before, after in itertools.pairwise([0, *found])]
    assert waits[:3] == [FIRST, 2 * FIRST, 4 * FIRST] and set(waits[6:]) == {LONGEST}


@pytest.mark.parametrize(("every", "least", "most"), [(5, 10, 14), (40, 49, 50)])
def test_peaks_that_come_again_and_again(monkeypatch, every, least, most):
    """Room is asked for after each of them only where it lasts as long as was waited for it."""
    found = asked(monkeypatch, lambda step, last: last < step - step % every)
    assert least <= len(found) <= most


def test_the_cache_is_flushed_and_the_weights_let_go_before(tiny, cached, monkeypatch):
    order = []
    own = memory.make_room

    def make_room(*arguments, **named):
        order.append(("room", torch.is_inference_mode_enabled()))
        return own(*arguments, **named)

    monkeypatch.setattr(memory, "give_back", lambda: order.append("flush"))
    monkeypatch.setattr(memory, "make_room", make_room)
    monkeypatch.setattr(memory, "paged_out", lambda _: memory.Paged(1, 1))
    with torch.inference_mode():
        request = scene.request(tiny, cached, scene.config(steps=FIRST))
        training.train_lora(request, scene.told(lambda event: order.append(event.step)))
    made = ["flush", ("room", True)]
    assert order == [*made, *range(1, FIRST + 1), *made, "flush"]


def test_copies_of_ours_are_not_looked_for_on_comfyuis_pages(tiny):
    model = TrainedModel(tiny.model)
    assert paged_models(model, SpeedConfig()) == [tiny.model]
    assert paged_models(model, SpeedConfig(frozen_weights="int8")) == ()
    assert memory.paged_out([tiny.model]) == (0, 0)  # not paged: ComfyUI's own plan
