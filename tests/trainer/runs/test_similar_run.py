"""What a new run is told about the most similar one: inputs, and single settings with both values."""

import dataclasses
import os

import pytest

from pack.trainer.config import train as config_module
from pack.trainer.config.captions import CaptionConfig
from pack.trainer.config.embedding import EmbeddingConfig
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.runs.run_folder import Inputs, RunFolder
from pack.trainer.runs.similar_run import DESCRIPTION

CONFIG = TrainConfig(steps=3)


def run(root, config=CONFIG, data="data", texts="texts", model="model"):
    return RunFolder(root, Inputs(config.identity(), data, texts, model))


def made(root, config=CONFIG, **inputs):
    folder = run(root, config, **inputs)
    with folder.open(config):
        return folder


def settings(steps=3, **optimiser):
    return TrainConfig(steps=steps, optimiser=OptimiserConfig(**optimiser))


def told(root, config=CONFIG, **inputs):
    return run(root, config, **inputs).nearest(config).split(" in: ")[1]


@pytest.mark.parametrize(
    ("inputs", "named"),
    [
        ({"data": "other"}, "data"),
        ({"texts": "other"}, "texts"),
        ({"model": "other"}, "model"),
        ({"data": "other", "model": "other"}, "data, model"),
    ],
)
def test_inputs_are_named(tmp_path, inputs, named):
    folder = made(tmp_path)
    sentence = run(tmp_path, **inputs).nearest(CONFIG)
    assert sentence == f"this run differs from {folder.path.name} in: {named}"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (settings(learning_rate=1e-4), "optimiser learning_rate 0.0001 instead of 3e-05"),
        (settings(steps=9, type="Lion"), "optimiser type Lion instead of AdamW"),
        (dataclasses.replace(CONFIG, seed=7, batch_size=1),
         "batch_size 1 instead of 2, seed 7 instead of 0"),
        (dataclasses.replace(CONFIG, lora=LoraConfig(dropout=0.1)),
         "lora dropout 0.1 instead of 0"),
        (dataclasses.replace(CONFIG, captions=CaptionConfig(shuffle=True)),
         "captions shuffle true instead of false"),
        (settings(arguments=("eps=1e-6",)), 'optimiser arguments ["eps=1e-6"] instead of []'),
        (settings(steps=9, schedule="cosine"),
         "number of steps, 9 instead of 3, because the schedule cosine depends on it, "
         "optimiser schedule cosine instead of constant"),
    ],
)  # fmt: skip
def test_settings_are_named_with_both_values(tmp_path, config, said):
    made(tmp_path)
    assert told(tmp_path, config) == said
    assert told(tmp_path, config, data="other") == f"data, {said}"


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (settings(schedule="cosine"), "the schedule cosine"),
        (settings(warmup=0.1), "a warm-up that is a fraction"),
        (
            TrainConfig(steps=3, captions=CaptionConfig(token_warmup_steps=0.5)),
            "the warm-up of tokens",
        ),
    ],
)
def test_the_reason_for_another_number_of_steps(tmp_path, config, reason):
    made(tmp_path, config)
    longer = dataclasses.replace(config, steps=5)
    said = f"number of steps, 5 instead of 3, because {reason} depends on it"
    assert told(tmp_path, longer) == said


def test_the_data_may_be_the_reason(tmp_path):
    folder = RunFolder(tmp_path, Inputs(CONFIG.identity(True), "data", "texts", "model"))
    with folder.open(CONFIG):
        pass
    longer = dataclasses.replace(CONFIG, steps=5)
    new = RunFolder(tmp_path, Inputs(longer.identity(True), "data", "texts", "model"))
    assert new.nearest(longer, True).endswith(
        "in: number of steps, 5 instead of 3, because the warm-up of tokens depends on it"
    )


def test_maths_of_another_version_is_the_recipe(tmp_path, monkeypatch):
    made(tmp_path)
    monkeypatch.setattr(config_module, "RECIPE_VERSION", 99)
    assert told(tmp_path) == "recipe"


def test_what_has_no_effect_is_not_named(tmp_path):
    made(tmp_path, dataclasses.replace(CONFIG, checkpointing="full", seed=1))
    assert told(tmp_path, dataclasses.replace(CONFIG, epochs=4)) == "seed 0 instead of 1"


def test_a_part_that_neither_run_has_is_not_named(tmp_path):
    other = EmbeddingConfig(vectors=7)
    made(tmp_path, dataclasses.replace(CONFIG, embedding=other, seed=1))
    assert told(tmp_path) == "seed 0 instead of 1"
    word = dataclasses.replace(CONFIG, embedding=dataclasses.replace(other, token="sks"))
    assert told(tmp_path, word) == "seed 0 instead of 1, embedding token sks instead of none"


def test_the_most_alike_and_then_the_latest(tmp_path):
    made(tmp_path, data="x", texts="x")
    made(tmp_path, dataclasses.replace(CONFIG, seed=1, batch_size=1))
    older = made(tmp_path, dataclasses.replace(CONFIG, seed=2))
    newer = made(tmp_path, dataclasses.replace(CONFIG, seed=3))
    os.utime(older.path / DESCRIPTION, (1000, 1000))
    os.utime(newer.path / DESCRIPTION, (2000, 2000))
    assert newer.path.name in run(tmp_path).nearest(CONFIG)
    os.utime(older.path / DESCRIPTION, (3000, 3000))
    assert older.path.name in run(tmp_path).nearest(CONFIG)


def test_a_run_does_not_differ_from_itself(tmp_path):
    """It was killed before its first state, or is asked for fewer steps than its states have."""
    said = made(tmp_path).nearest(CONFIG)
    assert said == "it was begun before, but left no state that these steps could go on from"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"inputs": 1}', '{"inputs": {}}', "\xff"])
def test_a_damaged_description_is_passed_over(tmp_path, text):
    folder = made(tmp_path)
    (folder.path / DESCRIPTION).write_text(text, "latin-1")
    assert run(tmp_path, data="x").nearest(CONFIG) is None
