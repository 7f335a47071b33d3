"""Epochs as the length of a run: how many optimiser steps they come to."""

import dataclasses
import itertools
import math

import pytest

from pack.tests.trainer.tiny_cache import FINGERPRINT, make_cache, make_item
from pack.tests.trainer.tiny_run import CONFIG, Run
from pack.trainer.batches.plan import epoch_ends, with_steps
from pack.trainer.batches.training_data import TrainingData
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.train import TrainConfig


@pytest.fixture
def nine(tmp_path):
    """Nine batches of two in an epoch: three of one bucket, the last of them not full, six of the other."""
    wide = [make_item(number, (96, 64)) for number in range(5)]
    return make_cache(tmp_path, *wide, *(make_item(n, repeats=3) for n in range(5, 9)))


@pytest.mark.parametrize(
    ("accumulation", "epochs", "steps"),
    [(1, 1, 9), (2, 1, 5), (2, 4, 20), (4, 3, 9), (9, 2, 2), (10, 2, 2)],
)
def test_the_steps_are_kohyas(nine, accumulation, epochs, steps):
    """Its max_train_epochs: epochs x ceil(batches / accumulation)."""
    config = TrainConfig(steps=77, accumulation=accumulation, epochs=epochs)
    assert with_steps(config, nine).steps == steps == epochs * math.ceil(9 / accumulation)


def test_without_epochs_the_steps_are_what_was_set(nine):
    config = TrainConfig(steps=77)
    assert with_steps(config, nine) is config


def test_the_steps_are_those_of_the_plan_where_epochs_differ_in_length(tmp_path):
    """Regularisation images take turns: two of another bucket, then two of the training images'."""
    buckets = [(64, 64), (64, 64), (96, 64), (96, 64), (64, 64), (64, 64)]
    items = [make_item(number, bucket) for number, bucket in enumerate(buckets)]
    items[2:] = [dataclasses.replace(item, is_reg=True) for item in items[2:]]
    cached = make_cache(tmp_path, *items)
    config = TrainConfig(batch_size=4)
    plan = itertools.islice(TrainingData(cached, FINGERPRINT).steps(config), 40)
    ends = [number for number, step in enumerate(plan, 1) if step.ends_epoch]
    assert ends[:5] == [2, 3, 5, 6, 8]
    assert list(itertools.islice(epoch_ends(cached, config), len(ends))) == ends
    for epochs, steps in enumerate(ends, 1):
        assert with_steps(dataclasses.replace(config, epochs=epochs), cached).steps == steps


def test_a_run_of_epochs_is_the_run_of_that_many_steps(nine):
    cosine = OptimiserConfig(learning_rate=1e-3, schedule="cosine", warmup=0.2)
    config = dataclasses.replace(CONFIG, accumulation=2, optimiser=cosine)
    epochs = with_steps(dataclasses.replace(config, epochs=2), nine)
    steps = dataclasses.replace(config, steps=10)
    run, other = Run(nine, epochs), Run(nine, steps)
    assert run.go() == other.go()
    assert [event.ends_epoch for event in run.observer.events] == ([False] * 4 + [True]) * 2
    assert epochs.identity() == steps.identity()
    assert with_steps(epochs, nine) == epochs


def test_nothing_to_train_on_is_told(tmp_path):
    only_reg = dataclasses.replace(make_item(0), is_reg=True)
    with pytest.raises(ValueError, match="no image to train on"):
        with_steps(TrainConfig(epochs=2), make_cache(tmp_path, only_reg))
