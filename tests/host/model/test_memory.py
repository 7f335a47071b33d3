"""What is free beside the weights, on a pretended card under ComfyUI's manager."""

from types import SimpleNamespace

import comfy.model_management as mm
import pytest
import torch

from pack.nodes.host.model import memory
from pack.trainer.memory.plan import GIB

CARD, OTHER = torch.device("cuda:0"), torch.device("cuda:1")
TOTAL, RESERVED, UNET = 8 * GIB, GIB // 2, 5 * GIB


class Patcher:
    """A model whose weights lie on the device in whole, in part (dynamic VRAM) or not at all."""

    def __init__(self, size, loaded=0, device=CARD, *, stays=False):
        self.load_device, self._size, self._loaded = device, size, loaded
        self.offload_device = device if stays else torch.device("cpu")
        self.model = torch.nn.Module()

    def model_size(self):
        return self._size

    def loaded_size(self):
        return self._loaded


@pytest.fixture
def card(monkeypatch):
    """Sets what others have of the card and which models are loaded; the manager sees what is left."""

    def state(others, *patchers):
        loaded = [SimpleNamespace(device=p.load_device, model=p) for p in patchers]
        gone = SimpleNamespace(device=CARD, model=None)  # collected, its entry not yet
        free = TOTAL - others - sum(p.loaded_size() for p in patchers if p.load_device == CARD)
        monkeypatch.setattr(mm, "get_total_memory", lambda device: TOTAL)
        monkeypatch.setattr(mm, "get_free_memory", lambda device: free)
        monkeypatch.setattr(mm, "extra_reserved_memory", lambda: RESERVED)
        monkeypatch.setattr(mm, "current_loaded_models", [*loaded, gone])

    return state


@pytest.mark.parametrize("others", [0, GIB])
def test_what_desktop_and_browser_have_is_not_there(card, others):
    unet = Patcher(UNET)
    card(others)
    assert memory.available_beside([unet]) == TOTAL - others - RESERVED - UNET


@pytest.mark.parametrize("loaded", [0, UNET // 3, UNET])
def test_it_does_not_matter_what_of_the_model_is_loaded_already(card, loaded):
    unet = Patcher(UNET, loaded)
    card(GIB, unet)
    assert memory.available_beside([unet]) == TOTAL - GIB - RESERVED - UNET


def test_other_models_leave(card):
    unet, vae, elsewhere = Patcher(UNET), Patcher(GIB, GIB), Patcher(GIB, GIB, OTHER)
    card(0, vae, elsewhere)
    assert memory.available_beside([unet]) == TOTAL - RESERVED - UNET


def test_where_models_stay_others_leave(card):
    """As with --highvram, where only UNets stay, and their weights are yet to come."""
    unet, clip = Patcher(UNET, stays=True), Patcher(GIB, GIB)
    card(0, clip)
    assert memory.available_beside([unet]) == TOTAL - RESERVED - UNET


def test_all_that_are_trained_stay(card):
    unet, clip = Patcher(UNET), Patcher(GIB, GIB)
    card(0, clip)
    assert memory.available_beside([unet, clip], spared=7) == TOTAL - RESERVED - UNET - GIB + 7


def test_a_cpu_has_no_limit():
    assert memory.available_beside([Patcher(UNET, device=torch.device("cpu"))]) is None
