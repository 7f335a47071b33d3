"""The settings of a trained embedding, and what they do to a run's identity."""

import pytest

from pack.trainer.config.embedding import USUAL_TEMPLATES, EmbeddingConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.train import TrainConfig

BOTH = "embedding and LoRA"


def run(embedding, optimiser=(), **more):
    optimiser = OptimiserConfig(**{"learning_rate": 1e-4, **dict(optimiser)})
    return TrainConfig(optimiser=optimiser, **more).having(embedding=embedding)


def test_without_a_token_nothing_is_another_run():
    plain = TrainConfig()
    changed = run(EmbeddingConfig(vectors=9, learning_rate=0.5), {"learning_rate": 3e-5})
    assert changed.identity() == plain.identity()
    assert changed.trains_lora and not changed.trains_text


def test_every_setting_counts():
    values = {
        "token": "b", "vectors": 3, "initial_text": "dog", "learning_rate": 2e-3, "weight_decay": 0.1,
        "trains": BOTH, "templates": "a {}", "only_templates": True, "start": "old",
    }  # fmt: skip
    every = [run(EmbeddingConfig(**{"token": "a", name: value})) for name, value in values.items()]
    every.append(run(EmbeddingConfig("a", trains=BOTH, share=0.5)))
    assert (
        len({config.identity() for config in every} | {run(EmbeddingConfig("a")).identity()}) == 11
    )


def test_the_number_of_steps_counts_where_it_ends_early():
    for share, counts in ((1.0, False), (0.5, True)):
        settings = EmbeddingConfig("a", trains=BOTH, share=share)
        names = {run(settings, steps=steps).identity() for steps in (10, 20)}
        assert (len(names) == 2) == counts
    assert EmbeddingConfig("a", trains=BOTH, share=0.3).until(10) == 3
    assert EmbeddingConfig("a", trains=BOTH, share=0.01).until(10) == 1


def test_alone_its_rate_is_the_optimisers():
    alone = run(EmbeddingConfig("a", learning_rate=2e-3))
    assert alone.optimiser.learning_rate == 2e-3 and not alone.trains_lora and alone.trains_text
    beside = run(EmbeddingConfig("a", learning_rate=2e-3, trains=BOTH))
    assert beside.optimiser.learning_rate == 1e-4 and beside.trains_lora


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"token": "two words"}, "token is 'two words'"),
        ({"token": "con"}, "no name of a device"),
        ({"vectors": 0}, "vectors is 0"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"weight_decay": -1}, "weight_decay is -1"),
        ({"initial_text": "a" * 301}, "initial_text has 301"),
        ({"initial_text": "a embedding:x"}, "give its name in start"),
        ({"trains": "LoRA"}, "trains is 'LoRA'"),
        ({"share": 0, "trains": BOTH}, "share is 0"),
        ({"share": 0.5}, "trained alone"),
        ({"templates": "a photo"}, "templates hold"),
        ({"templates": "{}\n" * 201}, "templates are 201 lines"),
    ],
)
def test_what_cannot_be_is_named(values, words):
    with pytest.raises(ValueError, match=words):
        EmbeddingConfig(**{"token": "a", **values})


@pytest.mark.parametrize(
    ("optimiser", "embedding", "words"),
    [
        ({"type": "Prodigy", "learning_rate": 1.0}, {}, "finds one learning rate for all"),
        ({"type": "AdamWScheduleFree"}, {"share": 0.5}, "keeps one rate for all steps"),
    ],
)
def test_an_optimiser_with_one_rate_takes_no_other(optimiser, embedding, words):
    with pytest.raises(ValueError, match=words):
        run(EmbeddingConfig("a", trains=BOTH, **embedding), optimiser)
    run(EmbeddingConfig("a", learning_rate=1.0), optimiser)


def test_templates():
    assert EmbeddingConfig().lines == [*USUAL_TEMPLATES]
    assert EmbeddingConfig(templates=" a {} \n\n the {}\n").lines == ["a {}", "the {}"]
