"""Rehearsal of a small card: ComfyUI's VAE runs out of memory, and by itself would turn to tiles without a word."""

import comfy.model_management as mm
import numpy as np
import pytest
import torch

from pack.nodes.host.dataset import cache
from pack.nodes.host.dataset import load as loading
from pack.nodes.host.model.vae import encode_pixels, precision, vae_fingerprint
from pack.tests.host import scene
from pack.trainer.cache.encoding import TooLarge
from pack.trainer.config.cache import CacheConfig


@pytest.fixture(autouse=True)
def as_in_comfyui():
    with torch.inference_mode():
        yield


@pytest.fixture
def refuse(tiny, monkeypatch):
    """A function: the VAE is out of memory where what it is given, [N, 3, h, w], says so."""
    module = tiny.vae.first_stage_model
    inner = module.encode

    def install(is_too_much):
        def encode(x, *rest, **options):
            if is_too_much(x):
                raise mm.OOM_EXCEPTION("CUDA out of memory")
            return inner(x, *rest, **options)

        monkeypatch.setattr(module, "encode", encode)

    return install


def first(count):
    """So many of the first questions are answered with True."""
    asked = iter([True] * count)
    return lambda _: next(asked, False)


def pixels(count=1):
    return np.random.default_rng(0).integers(0, 255, (count, 64, 96, 3), np.uint8)


def test_an_image_that_fits_once_all_else_has_left(tiny, refuse, monkeypatch):
    """Before, the latents of tiles came back as if nothing had happened."""
    exact, freed = encode_pixels(tiny.vae, pixels()), []
    monkeypatch.setattr(mm, "free_memory", lambda *inputs, **_: freed.append(inputs) or [])
    refuse(first(1))
    assert torch.equal(encode_pixels(tiny.vae, pixels()), exact)
    assert (1e30, tiny.vae.patcher.load_device) in freed


@pytest.mark.parametrize(("count", "refused"), [(1, 2), (2, 1)])
def test_tiles_are_never_taken_for_the_whole(tiny, refuse, count, refused):
    """Before, they were."""
    exact, before = encode_pixels(tiny.vae, pixels(count)), dict(vars(tiny.vae))
    refuse(first(refused))
    with pytest.raises(TooLarge) as error:
        encode_pixels(tiny.vae, pixels(count))
    assert vars(tiny.vae) == before
    torch.testing.assert_close(error.value.in_tiles(), exact)


def test_cache_latents_goes_on_and_says_it(tiny, refuse, tmp_path, caplog):
    folder = scene.write_pictures(tmp_path / "set", sizes=((64, 64), (128, 32)))
    dataset, _ = loading.load_dataset(loading.LoadConfig(str(folder)))
    refuse(lambda x: len(x) > 1 or (x.shape[3] > 64 and "encode_tiled_" in vars(tiny.vae)))
    caplog.set_level("INFO")
    config = CacheConfig(scene.BUCKETS, batch_size=4)
    cached, report = cache.build_cache(dataset, tiny.vae, None, config)
    assert [item.in_tiles for item in cached.items] == [
        item.bucket[0] > 64 for item in cached.items
    ]
    assert "2 did not fit into memory and were encoded in tiles" in report
    assert f"latents in {precision(tiny.vae)}" in caplog.text and "float32 on cpu" in caplog.text
    again, _ = cache.build_cache(dataset, tiny.vae, None, config)
    assert again == cached


def test_precisions_have_fingerprints_of_their_own(tiny, monkeypatch):
    """Of the weights, and of what ComfyUI gives out (--fp16-intermediates)."""
    marks = [vae_fingerprint(tiny.vae)]
    if hasattr(mm, "intermediate_dtype"):
        monkeypatch.setattr(mm, "intermediate_dtype", lambda: torch.float16)
        marks.append(vae_fingerprint(tiny.vae))
        monkeypatch.undo()
        assert vae_fingerprint(tiny.vae) == marks[0]
    for dtype in (torch.bfloat16, torch.float16):
        tiny.vae.vae_dtype = dtype
        tiny.vae.first_stage_model.to(dtype)
        marks.append(vae_fingerprint(tiny.vae))
    assert len(set(marks)) == len(marks)
