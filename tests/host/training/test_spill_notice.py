"""The follower that notices spilled memory, with a stand-in for the card."""

import dataclasses
import logging
import types

import pytest
import torch

from pack.nodes.host.training.spill_notice import Spilling
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.device.spill_watch import CALM, FIRST, LATEST

GIB = 1024**3
PIXELS = 1024 * 1024, 512 * 512


@pytest.fixture
def card(monkeypatch):
    state = types.SimpleNamespace(free=0, reserved=0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (state.free, 8 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: state.reserved)
    return state


def follower(device="cuda"):
    return Spilling(torch.device(device))


def run(spilling, costs):
    """Steps of so many seconds for each 1024 x 1024 pixels, large and small images in turn."""
    seconds = 0.0
    for number, cost in enumerate(costs):
        pixels = PIXELS[number % 2]
        seconds += cost * pixels / PIXELS[0]
        spilling.on_step(types.SimpleNamespace(seconds=seconds, pixels=pixels))


def test_a_jump_is_told_once_and_stands_behind_the_steps(card, caplog):
    spilling = follower()
    with caplog.at_level(logging.WARNING):
        run(spilling, [1.0] * (FIRST + CALM) + [1.0] * 20)
        assert not spilling.notice
        run(follower(), [1.0] * (FIRST + CALM) + [5.0] * (LATEST - 1))
        assert caplog.text == ""
        run(spilling := follower(), [1.0] * (FIRST + CALM) + [5.0] * 30)
    assert "RAM" in spilling.notice
    assert caplog.text.count("5.0 times as long") == 1


def test_a_card_that_is_overdrawn_is_told(card, caplog):
    card.reserved = 9 * GIB
    run(spilling := follower(), [1.0] * (FIRST + 1))
    assert spilling.notice and "More memory is in use" in caplog.text


def test_other_devices_are_not_asked(monkeypatch):
    monkeypatch.delattr(torch.cuda, "mem_get_info")
    run(spilling := follower("cpu"), [1.0] * FIRST + [9.0] * 60)
    assert not spilling.notice


DONE = {
    "checkpointing full": {"checkpointing": "full"},
    "compact": {"compact": True},
    "a smaller batch": {"batch_size": 1},
    "a lower rank": {"lora": LoraConfig(dim_from_weights=True)},
}


@pytest.mark.parametrize("change", DONE)
def test_what_is_already_so_is_not_advised(card, caplog, change):
    card.reserved = 9 * GIB
    open_to_it = TrainConfig(batch_size=2)
    for config in (open_to_it, dataclasses.replace(open_to_it, **DONE[change])):
        caplog.clear()
        run(Spilling(torch.device("cuda"), config), [1.0] * (FIRST + 2))
        assert (change in caplog.text) == (config is open_to_it)
        assert "smaller images" in caplog.text and "Sysmem" in caplog.text


def paged(away):
    """A model of 5 GiB whose weights ComfyUI pages, so much of it not on the card."""
    device = torch.device("cuda")
    pages = types.SimpleNamespace(offset=5 * GIB, loaded_size=lambda: int((5 - away) * GIB))
    model = types.SimpleNamespace(dynamic_vbars={device: pages})
    return types.SimpleNamespace(model=model, load_device=device), pages


SLOW = [1.0] * (FIRST + CALM) + [5.0] * LATEST


@pytest.mark.parametrize("away", [0, 0.05])
def test_a_full_card_is_nothing_unusual_under_dynamic_vram(card, caplog, away):
    """Pages of layers that are never used may be away."""
    run(spilling := Spilling(torch.device("cuda"), paged=[paged(away)[0]]), SLOW)
    assert caplog.text == spilling.notice == ""


def test_it_is_said_how_much_of_the_model_is_paged_out(card, caplog):
    card.free = 9 * GIB
    patcher, pages = paged(3)
    run(spilling := Spilling(torch.device("cuda"), paged=[patcher]), SLOW)
    assert "5.0 times as long as before and 3.0 of 5.0 GiB of the model wait in RAM" in caplog.text
    assert "dynamic VRAM" in caplog.text and "Sysmem" not in caplog.text
    assert spilling.notice == " · 3.0 of 5.0 GiB of the model in RAM"
    pages.loaded_size = lambda: 5 * GIB
    run(spilling, [1.0])
    assert spilling.notice == ""
