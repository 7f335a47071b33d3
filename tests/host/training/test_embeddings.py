"""Trained embeddings: alone and beside a LoRA, what they leave behind, how they go on and are used."""

import dataclasses

import comfy.model_management as mm
import pytest
import torch

from pack.nodes.host import folders
from pack.nodes.host.model import clip as text
from pack.tests.host import scene
from pack.tests.host.model.test_clip_training import cached, recipe, train  # noqa: F401 (a fixture)
from pack.tests.host.training.test_resume import cancel_after, same
from pack.tests.host.training.test_text_runs import PREVIEWS, assert_untouched
from pack.trainer.config.embedding import EmbeddingConfig

pytestmark = [pytest.mark.main_host, pytest.mark.slow]


def settings(steps=3, embedding=(), **more):
    values = {"token": "thing", "vectors": 2, "initial_text": "red cat", "learning_rate": 1e-2}
    return recipe(
        steps=steps,
        optimiser={"text_encoder_1_rate": 0.0, "text_encoder_2_rate": 0.0},
        **more,
    ).having(embedding=EmbeddingConfig(**{**values, **dict(embedding)}))


@pytest.mark.parametrize("compact", [False, True])
def test_alone(tiny, cached, compact):  # noqa: F811
    def act():
        result, _ = train(tiny, cached, settings(compact=compact), vae=tiny.vae, previews=PREVIEWS)
        assert {k: tuple(v.shape) for k, v in result.lora.items()} == {}

    assert_untouched(tiny, act)
