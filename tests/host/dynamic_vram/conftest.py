"""A tiny SDXL whose weights ComfyUI pages in and out by itself, on a card without numbers."""

from types import SimpleNamespace

import pytest

from pack.demo import tiny_sdxl
from pack.tests.host.dynamic_vram import aimdo
from pack.tests.host.dynamic_vram.card import Shapes, put_host_on_card


@pytest.fixture
def paged(tiny_checkpoint, cached, monkeypatch):
    """A function: the scene with pages that are stolen as soon as nobody pins them, or are not."""
    import comfy.model_management as mm

    modes = []

    def make(*, steals):
        pages = aimdo.Pages(steals=steals)
        put_host_on_card(monkeypatch)
        aimdo.install(monkeypatch, pages)
        tiny = tiny_sdxl.load(tiny_checkpoint)  # written before: else half of it would be missing
        assert all(
            getattr(module, "weight", 0) is not None for module in tiny.model.model.modules()
        )
        modes.append(Shapes(pages.watch).__enter__())
        return SimpleNamespace(pages=pages, tiny=tiny, cached=cached)

    yield make
    for mode in modes:
        mode.__exit__(None, None, None)
    mm.unload_all_models()
