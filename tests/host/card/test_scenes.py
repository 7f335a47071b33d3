"""Whole trainings on a card made of shapes: nothing lies in two places, a step waits once, little is sent."""

import dataclasses

import pytest

from pack.nodes.host.previews.previewer import PreviewConfig
from pack.tests.host.card.rehearsal import SENT
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.speed import SpeedConfig
from pack.trainer.config.validation import ValidationConfig
from pack.trainer.validation.measure import Validation

WAYS = {
    "plain": {},
    "compact": {"compact": True},
    "all again": {"checkpointing": "full"},
    "int8": {"speed": SpeedConfig(frozen_weights="int8")},
    "masked": {"loss": LossConfig(masked=True, min_snr_gamma=5.0)},
    "moving average": {"optimiser": OptimiserConfig(ema_decay=0.9)},
}
KINDS = {
    "convolutions": ({"conv_rank": 2}, 0),
    "loha": ({"algorithm": "loha"}, 10),
    "lokr": ({"algorithm": "lokr"}, 0),
    "dora": ({"dora": True}, 1),
    "oft": ({"algorithm": "oft", "oft_constraint": 1e-3}, 1),
    "boft": ({"algorithm": "boft", "rank": 16}, 1),
    "t-lora": ({"least_rank": 2}, 0),
    "dropout": ({"dropout": 0.1, "rank_dropout": 0.1, "module_dropout": 0.1}, 0),
    "max_norm": ({"max_norm": 1.0}, 2),
}
"""Settings of the LoRA, and products of parameters alone, which stay float32, for each adapter and step."""


def adapters(result):
    return sum(key.endswith(".alpha") for key in result.lora)


@pytest.mark.parametrize("way", WAYS)
def test_a_step_waits_once(on_card, way):
    on_card.train(steps=1 + (way in ("plain", "moving average")), **WAYS[way])
    on_card.check(sent=SENT + (way == "masked"))


@pytest.mark.parametrize(("storage", "sent"), [("as loaded", 230), ("int8", 291)])
def test_streamed_weights_are_all_that_is_sent_besides(on_card, storage, sent):
    on_card.train(steps=1, speed=SpeedConfig(stream_weights=True, frozen_weights=storage))
    on_card.check(sent=SENT + sent)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_adapter(on_card, kind):
    settings, products = KINDS[kind]
    result = on_card.train(steps=1, lora=LoraConfig(**{"rank": 4, **settings}))
    on_card.check(products=products * adapters(result))


def test_prior_preservation(on_card):
    """Of every image, and of images of which only that is wanted."""
    clip = on_card.parts.clip
    on_card.train(steps=1, loss=LossConfig(preservation=1.0), clip=clip)
    on_card.check(sent=SENT + 2)
    items = [dataclasses.replace(item, preserves=True) for item in on_card.cached.items[:2]]
    items = (*items, *on_card.cached.items[2:])
    on_card.cached = dataclasses.replace(on_card.cached, items=items)
    on_card.train(steps=1)
    on_card.check()


def test_text_encoders(on_card):
    """They compute in float32, as ComfyUI has them: as many products as when they are trained alone.

    The ids of each caption are sent once for each encoder.
    """
    rates = {"text_encoder_1_rate": 1e-4, "text_encoder_2_rate": 1e-4}
    clip = on_card.parts.clip
    alone = OptimiserConfig(train_unet=False, **rates)
    on_card.train(steps=1, batch_size=1, optimiser=alone, clip=clip)
    products = on_card.steps[0].products.total()
    on_card.train(steps=1, batch_size=1, optimiser=OptimiserConfig(**rates), clip=clip)
    on_card.check(sent=SENT + 2, products=products)


def test_held_out_images_are_waited_for_together(on_card, monkeypatch):
    counted, losses = [], Validation.losses

    def measured(*arguments):
        found, counts = on_card.without_steps(lambda: losses(*arguments))
        counted.append(counts)
        return found

    monkeypatch.setattr(Validation, "losses", measured)
    on_card.train(validation=ValidationConfig(held_out=2.0, every=1, timesteps=2), batch_size=1)
    on_card.check()
    assert [counts.waits.total() for counts in counted] == [1, 1, 1]
    assert {counts.sent.total() for counts in counted} == {
        2 * (4 + 2 * 2)
    }  # an image; each timestep


def test_previews_and_what_the_model_saw(on_card):
    previews = PreviewConfig(("a thing",), every=1, width=64, height=64, steps=1)
    on_card.train(clip=on_card.parts.clip, vae=on_card.parts.vae, previews=previews)
    on_card.check()
