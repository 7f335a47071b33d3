"""One ComfyUI on a card made of shapes for all of these tests; between them the real one is as it was."""

import pytest

from pack.tests.host import scene


@pytest.fixture(scope="session")
def card_parts(tiny_checkpoint, tmp_path_factory):
    """(model, clip, vae) for the card, and a dataset of which nothing is cached but its latents and texts."""
    import comfy.model_management as mm

    from pack.tests.host.card.pretended import comfyui_on_a_card, small_sdxl
    from pack.tests.host.card.rehearsal import watched

    folder = tmp_path_factory.mktemp("card")
    with comfyui_on_a_card(), watched():
        parts = small_sdxl(tiny_checkpoint)
        pictures = scene.write_pictures(folder / "set", count=3, sizes=((64, 64),))
        cached = scene.cache(parts, pictures, folder / "cache")
        mm.unload_all_models()
    return parts, cached


@pytest.fixture
def on_card(card_parts, monkeypatch):
    """Trainings on the card (tests/host/card/rehearsal.py)."""
    import comfy.model_management as mm

    from pack.tests.host.card.pretended import comfyui_on_a_card
    from pack.tests.host.card.rehearsal import Rehearsal, watched

    parts, cached = card_parts
    with comfyui_on_a_card() as pretended, watched() as card:
        pretended.patchers += [parts.model, parts.clip.patcher, parts.vae.patcher]
        yield Rehearsal(parts, cached, card, monkeypatch)
        mm.unload_all_models()
