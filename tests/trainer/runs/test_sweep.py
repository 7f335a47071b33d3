import dataclasses

import pytest

from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.runs.sweep import (
    MOST_RUNS,
    SweptConfig,
    differences,
    parse_numbers,
    parse_seeds,
    swept,
)

BASE = TrainConfig(
    steps=60, lora=LoraConfig(rank=32, alpha=16), optimiser=OptimiserConfig(weight_decay=0.1)
)


def test_every_combination_once_the_seeds_of_a_setting_together():
    found = swept(BASE, "1e-5, 1e-4 1e-5", "8;32", "3, 4")
    assert [(c.optimiser.learning_rate, c.lora.rank, c.seed) for c in found] == [
        (rate, rank, seed) for rate in (1e-5, 1e-4) for rank in (8, 32) for seed in (3, 4)
    ]
    assert {c.lora.alpha for c in found if c.lora.rank == 8} == {4.0}
    assert {c.optimiser.weight_decay for c in found} == {0.1}


def test_an_empty_text_leaves_what_there_is():
    (only,) = swept(BASE, "", " ", "")
    assert {**only.to_dict()} == BASE.to_dict()
    assert isinstance(only, SweptConfig)


def test_a_run_of_a_sweep_is_the_run_that_it_would_be_alone():
    (only,) = swept(BASE, "1e-4", "", "5")
    rate = dataclasses.replace(BASE.optimiser, learning_rate=1e-4)
    assert only.identity() == dataclasses.replace(BASE, optimiser=rate, seed=5).identity()


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (("1e-5, high", "", ""), "learning_rates"),
        (("0,0003", "", ""), "learning_rate"),
        (("", "8.5", ""), "rank"),
        (("", "", "-1"), "whole numbers from 0"),
        (("", "", "nan"), "whole numbers from 0"),
        (("", "", "1.5"), "whole numbers from 0"),
        (("1e-5", "4, 8", " ".join(map(str, range(40)))), "80 runs"),
        (("", "", "1 " * 3000), "seeds"),
        (("nan", "", ""), "learning_rate"),
    ],
)
def test_what_it_refuses(texts, words):
    with pytest.raises(ValueError, match=words):
        swept(BASE, *texts)


def test_ranks_that_are_set_elsewhere_are_refused():
    base = TrainConfig(lora=LoraConfig(dim_from_weights=True))
    with pytest.raises(ValueError, match="dim_from_weights"):
        swept(base, "", "4, 8", "")
    assert len(swept(base, "1e-5, 1e-4", "", "")) == 2


def test_numbers_are_read_in_order_once():
    assert parse_seeds("9007199254740993, 1 1") == (9007199254740993, 1)
    assert parse_numbers("3, 1;2\n3", "seeds") == (3.0, 1.0, 2.0)
    assert len(parse_numbers(" ".join(map(str, range(MOST_RUNS))), "seeds")) == MOST_RUNS


@pytest.mark.parametrize("text", ["0,05", "0,8 0,05", "3e-5, 0,0001"])
def test_a_decimal_comma_is_told_where_it_shows(text):
    with pytest.raises(ValueError, match=r"numbers with a decimal point.*such as 0\.5"):
        parse_numbers(text, "learning_rates")


def test_differences_name_what_differs_and_not_the_seed():
    assert differences(swept(BASE, "1e-5, 1e-4", "", "0, 1")) == [
        "learning_rate 1e-05",
        "learning_rate 1e-05",
        "learning_rate 0.0001",
        "learning_rate 0.0001",
    ]
    assert differences(swept(BASE, "", "", "0, 1")) == ["learning_rate 3e-05, rank 32"] * 2
    assert differences([]) == []
