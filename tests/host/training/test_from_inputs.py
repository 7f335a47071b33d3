"""Rank, alpha, learning rate and optimiser on Train, beside the settings nodes that have them too."""

import logging
from contextlib import nullcontext

import pytest

from pack.nodes.host.training.from_inputs import given_by
from pack.nodes.train import Train
from pack.trainer.config.embedding import EmbeddingConfig
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.train import TrainConfig

LORA = LoraConfig(rank=8, alpha=4.0)
OPTIMISER = OptimiserConfig(learning_rate=1e-4, type="Lion")
TYPED = {"rank": 8, "alpha": 4.0, "learning_rate": 1e-4, "optimiser": "Lion"}


def config(**typed):
    """The TrainConfig of a prompt that has these inputs."""
    schema = Train.define_schema().inputs
    defaults = {field.id: getattr(field, "default", None) for field in schema}
    given = {name: value for name, value in defaults.items() if value is not None}
    return given_by({**given, **typed})["config"]


def test_an_old_prompt_is_the_run_that_it_was():
    assert config() == TrainConfig()
    assert config(lora_settings=LORA).identity() == TrainConfig(lora=LORA).identity()


def test_the_widgets_stand_for_the_nodes_that_are_not_connected():
    assert config(**TYPED) == TrainConfig(lora=LORA, optimiser=OPTIMISER)
    assert config(**TYPED, lora_settings=LoraConfig()).optimiser == OPTIMISER


def test_a_connected_node_applies_and_the_log_says_so(caplog):
    run = TrainConfig(steps=7, lora=LoraConfig(rank=3))
    with caplog.at_level(logging.WARNING):
        assert config(**TYPED, optimiser_settings=OptimiserConfig()).optimiser == OptimiserConfig()
        assert config(**TYPED, run_settings=run) == run
    assert [record.getMessage().removeprefix("LoRA Loop: ") for record in caplog.records] == [
        "learning_rate and optimiser of Train do not apply, those of Optimiser Settings do",
        "rank and alpha of Train do not apply, those of Import kohya Config do",
        "learning_rate and optimiser of Train do not apply, those of Import kohya Config do",
    ]


def test_what_an_embedding_alone_leaves_unused_is_told(caplog):
    alone = EmbeddingConfig(token="thing")
    both = EmbeddingConfig(token="thing", trains="embedding and LoRA")
    rates = OptimiserConfig(learning_rate=2e-4, text_encoder_1_rate=1e-5)
    with caplog.at_level(logging.WARNING):
        config(embedding_settings=alone)
        config(embedding_settings=both, lora_settings=LORA, optimiser_settings=rates)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        found = config(embedding_settings=alone, lora_settings=LORA, optimiser_settings=rates)
        config(embedding_settings=alone, rank=8)
    assert found.optimiser.learning_rate == alone.learning_rate
    beside, widget = [record.getMessage() for record in caplog.records]
    for words in ("LoRA Settings or rank", "rate of the optimiser", "rates of the text encoders"):
        assert words in beside
    assert "rank and alpha" in widget and "rate" not in widget
    for settings in (alone, both):
        refused = pytest.raises(ValueError, match="Full Tuning Settings train the model")
        with refused if settings is alone else nullcontext():
            config(embedding_settings=settings, lora_settings=LoraConfig(algorithm="full"))


def test_an_unlikely_rate_is_asked_about_here_too():
    with pytest.raises(ValueError, match=r"learning_rate is 1, and AdamW usually takes"):
        config(learning_rate=1.0)
    assert config(learning_rate=1.0, optimiser="Prodigy").optimiser.type == "Prodigy"
    config(learning_rate=1.0, optimiser_settings=OptimiserConfig())
