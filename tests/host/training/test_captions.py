"""Captions that change from one use to the next, in a whole training inside ComfyUI."""

import dataclasses
from contextlib import suppress

import pytest
import torch

from pack.nodes.host.model import clip as text
from pack.nodes.host.training import train as training
from pack.tests.host import scene
from pack.trainer.batches import caption_window
from pack.trainer.config.captions import CaptionConfig

pytestmark = pytest.mark.main_host

SHUFFLED = CaptionConfig(shuffle=True, keep_tokens=1)


@pytest.fixture
def cached(tiny, tmp_path):
    folder = scene.write_pictures(tmp_path / "set")
    for path in folder.glob("*.txt"):
        path.write_text(f"thing, a, b, c, d, {path.stem}", "utf-8")
    return scene.cache(tiny, folder, tmp_path / "cache")


def train(tiny, cached, recipe, clip=True):
    request = scene.request(tiny, cached, recipe, clip=tiny.clip if clip else None)
    with torch.inference_mode():
        return training.train_lora(request)[0]


@pytest.fixture
def encoded(monkeypatch):
    """The captions that were encoded, in order; all of them outside of autograd."""
    found, plain = [], text.encode_caption

    def remember(clip, caption, *recipe):
        assert torch.is_inference_mode_enabled()
        found.append(caption)
        return plain(clip, caption, *recipe)

    monkeypatch.setattr(text, "encode_caption", remember)
    return found


def test_shuffled_captions_train_and_leave_the_model_as_it_was(
    tiny, cached, encoded, monkeypatch, tmp_path
):
    sampled = scene.sample(tiny.model, tiny.clip)
    before = scene.snapshot(tiny.model)
    # One text a window: the encoders come and go between all steps.
    monkeypatch.setattr(caption_window.CaptionWindow.__init__, "__defaults__", (0, 1))
    often = train(tiny, cached, scene.config(captions=SHUFFLED))
    assert len(set(encoded)) > 4
    assert all(caption.startswith("thing, ") for caption in encoded)
    assert scene.snapshot(tiny.model) == before
    assert torch.equal(scene.sample(tiny.model, tiny.clip), sampled)
    monkeypatch.undo()
    monkeypatch.setattr(training.folders, "output_root", lambda: tmp_path / "elsewhere")
    once = train(tiny, cached, scene.config(captions=SHUFFLED))
    assert once.losses == often.losses
    assert all(torch.equal(once.lora[key], often.lora[key]) for key in once.lora)
    plain = train(tiny, cached, scene.config())
    assert plain.losses != once.losses


def test_the_same_run_comes_back_and_other_captions_are_another_run(tiny, cached):
    first = train(tiny, cached, scene.config(captions=SHUFFLED))
    again = train(tiny, cached, scene.config(captions=SHUFFLED))
    other = train(tiny, cached, scene.config(captions=dataclasses.replace(SHUFFLED, keep_tokens=2)))
    assert (first.trained, again.trained, other.trained) == (True, False, True)


def test_more_steps_are_another_run_when_a_warm_up_is_a_fraction_of_them(tiny, cached):
    warmed = CaptionConfig(token_warmup_steps=0.5)
    own = dataclasses.replace(cached.items[0], options=warmed)
    one = dataclasses.replace(cached, items=(own, *cached.items[1:]))

    def folder(data, **settings):
        return train(tiny, data, scene.config(**settings)).path.parent

    assert folder(one, steps=1) != folder(one, steps=2)
    assert folder(cached, steps=1, captions=warmed) != folder(cached, steps=2, captions=warmed)
    assert folder(cached, steps=1) == folder(cached, steps=2)


def test_without_clip_it_is_refused_before_anything_is_done(tiny, cached):
    with pytest.raises(ValueError, match="connect CLIP to Train"):
        train(tiny, cached, scene.config(captions=SHUFFLED), clip=False)
    marked = dataclasses.replace(cached.items[0], optional_tags=("a",), optional_rate=0.5)
    one = dataclasses.replace(cached, items=(marked, *cached.items[1:]))
    with pytest.raises(ValueError, match="connect CLIP to Train"):
        train(tiny, one, scene.config(), clip=False)
    assert train(tiny, cached, scene.config(), clip=False).trained


def test_a_prefix_is_encoded_by_train_and_said_without_clip(tiny, cached, encoded):
    prefixed = scene.config(captions=CaptionConfig(prefix="photo of"))
    with pytest.raises(ValueError, match="Caption Settings give captions"):
        train(tiny, cached, prefixed, clip=False)
    train(tiny, cached, prefixed)
    assert len(encoded) == 4 and all(c.startswith("photo of thing") for c in encoded)


def test_an_interrupt_while_captions_are_encoded_restores_everything(
    tiny, cached, monkeypatch, encoded
):
    before = scene.snapshot(tiny.model)
    monkeypatch.setattr(caption_window.CaptionWindow.__init__, "__defaults__", (0, 1))

    class Stop(BaseException):
        pass

    plain = text.encode_caption

    def stop(clip, caption, *recipe):
        if len(encoded) > 3:
            raise Stop
        return plain(clip, caption, *recipe)

    monkeypatch.setattr(text, "encode_caption", stop)
    with suppress(Stop):
        train(tiny, cached, scene.config(captions=SHUFFLED))
        raise AssertionError("it was not interrupted")
    assert scene.snapshot(tiny.model) == before
