"""Masks, prior preservation and zero terminal SNR through a whole training."""

import dataclasses
import logging

import pytest
import torch
from PIL import Image

from pack.nodes.host.training.train import train_lora
from pack.tests.host import scene
from pack.trainer.config.loss import LossConfig

pytestmark = pytest.mark.main_host

WORD = LossConfig(preservation=1.0, preservation_class="cat")


def masked(folder, level):
    """Images, each with a mask of one grey."""
    scene.write_pictures(folder)
    (folder / "masks").mkdir()
    for path in folder.glob("*.png"):
        Image.new("L", Image.open(path).size, level).save(folder / "masks" / path.name)
    return folder


def train(tiny, cached, loss, **extra):
    with torch.inference_mode():
        return train_lora(scene.request(tiny, cached, scene.config(steps=2, loss=loss), **extra))[0]


def test_what_a_mask_covers_has_no_loss(tiny, tmp_path, caplog):
    """At 51 of 255 a fifth is left of the first loss, before anything is learnt."""
    caplog.set_level(logging.INFO)
    found = {}
    for level in (5, 51):
        cached = scene.cache(tiny, masked(tmp_path / f"{level}", level), tmp_path / "store")
        found[level] = train(tiny, cached, LossConfig(masked=True)).losses
    plain = train(tiny, cached, LossConfig()).losses
    assert found[5][0] == pytest.approx(plain[0] / 51, rel=1e-4)
    assert found[51][0] == pytest.approx(plain[0] / 5, rel=1e-4)
    assert "4 mask(s) from files, 0 from transparency, 0 without" in caplog.text
    assert "step 2, loss by timestep: " in caplog.text


def test_black_masks_alone_are_refused_and_some_are_told(tiny, tmp_path, caplog):
    folder = masked(tmp_path / "data", 0)
    cached = scene.cache(tiny, folder, tmp_path / "store")
    with pytest.raises(ValueError, match="masks of all 4 images are black"):
        train(tiny, cached, LossConfig(masked=True))
    first = min((folder / "masks").iterdir())
    Image.new("L", Image.open(first).size, 255).save(first)
    cached = scene.cache(tiny, folder, tmp_path / "store")
    train(tiny, cached, LossConfig(masked=True))
    assert "masks of 3 of 4 images are black" in caplog.text


def test_no_masks_at_all_are_said_and_change_nothing(tiny, tmp_path, caplog):
    cached = scene.cache(tiny, scene.write_pictures(tmp_path / "data"), tmp_path / "store")
    plain, with_none = (train(tiny, cached, LossConfig(masked=on)).losses for on in (False, True))
    assert plain == with_none
    assert "nothing has a mask" in caplog.text


def with_trigger(cached, trigger):
    return dataclasses.replace(cached, dataset=dataclasses.replace(cached.dataset, trigger=trigger))


def test_preservation_encodes_the_captions_without_the_trigger(tiny, tmp_path, caplog):
    """A fresh LoRA changes nothing, so the first step's term is 0; the second's is not."""
    cached = scene.cache(tiny, scene.write_pictures(tmp_path / "data"), tmp_path / "store")
    cached = with_trigger(cached, "thing")
    plain = train(tiny, cached, LossConfig())
    kept = train(tiny, cached, WORD, clip=tiny.clip)
    assert kept.losses[0] == plain.losses[0] and kept.losses[1] != plain.losses[1]
    assert "do not hold the trigger" not in caplog.text
    other = train(tiny, with_trigger(cached, "number"), WORD, clip=tiny.clip)
    assert other.trained and other.path.parent != kept.path.parent
    assert other.losses[1] != kept.losses[1]
    train(tiny, with_trigger(cached, "absent"), WORD, clip=tiny.clip)
    assert "4 of 4 captions do not hold the trigger (absent)" in caplog.text


def test_preservation_needs_the_text_encoders(tiny, tmp_path):
    cached = scene.cache(tiny, scene.write_pictures(tmp_path / "data"), tmp_path / "store")
    with pytest.raises(ValueError, match=r"preservation .* connect CLIP to Train"):
        train(tiny, cached, WORD)


def test_zero_terminal_snr_on_a_model_of_noise_is_remarked_upon(tiny, tiny_v, tmp_path):
    cached = scene.cache(tiny, scene.write_pictures(tmp_path / "data"), tmp_path / "store")
    config = scene.config(loss=LossConfig(zero_terminal_snr="on"))
    notes = [" ".join(scene.request(m, cached, config).notes()) for m in (tiny, tiny_v)]
    assert "meant for v-prediction models" in notes[0] and not notes[1]
