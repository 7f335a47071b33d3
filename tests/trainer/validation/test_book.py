"""When a run ends and which step is best: told from the measurements alone, whatever the cadence."""

import dataclasses
import json
import math

import pytest
import torch

from pack.tests.trainer.tiny_cache import make_cache
from pack.tests.trainer.tiny_run import CONFIG, Run, same
from pack.tests.trainer.watched_run import Stop, WatchedRun, find
from pack.trainer.config.validation import ValidationConfig
from pack.trainer.validation.book import due_steps, follow, when_to_stop_of
from pack.trainer.validation.split import split

DIFFERENCES = [-1.0, -3.0, -2.0, -3.0, -2.5, -4.0, -9.0]
"""At steps 1, 2, ...: three validations in a row, 3 to 5, are no better than that of step 2."""


def sequence(differences=DIFFERENCES):
    """Measurements that come to these differences."""
    return lambda step: (
        [10.0, 20.0] if not step else [x + differences[step - 1] for x in (9.0, 21.0)]
    )


def config(steps=7, **settings):
    validation = ValidationConfig(1, **{"every": 1, **settings})
    return dataclasses.replace(CONFIG, steps=steps, validation=validation)


@pytest.fixture
def cached(tmp_path):
    return make_cache(tmp_path / "store")


@pytest.fixture
def start(cached, tmp_path):
    """A function that starts a run in one place, its measurements those of the sequence."""

    def start(config, **extra):
        return WatchedRun(cached, config, tmp_path / "runs", measure=sequence(), **extra)

    return start


def stop_after(last):
    def cancel(step):
        if step == last:
            raise Stop

    return cancel


def tensors(lora):
    return [lora[key] for key in sorted(lora)]


@pytest.mark.parametrize(
    ("values", "patience", "best", "end", "gave_up"),
    [
        (DIFFERENCES, 0, 7, 7, False),
        (DIFFERENCES, 3, 2, 5, True),
        (DIFFERENCES, 4, 7, 7, False),
        (DIFFERENCES, 1, 2, 3, True),
        ([-1.0, math.nan, -2.0], 2, 3, 3, False),
        ([math.nan] * 3, 2, None, 2, True),
        ([math.nan, 1.0, 1.0], 2, 2, 3, False),
        ([5.0, 4.0, 3.0], 2, 3, 3, False),  # worse than the start, but better and better
    ],
)
def test_the_walk(values, patience, best, end, gave_up):
    measured = dict(enumerate(values, 1))
    found = follow(measured, sorted(measured), len(values), patience)
    assert found[:2] == (best, end) and found.gave_up is gave_up
    assert follow({}, [2, 4], 4)[:3] == (None, None, 1)
    assert follow({2: -1.0}, [2, 4], 4)[:3] == (2, None, 3)


@pytest.mark.parametrize(
    ("settings", "steps", "due"),
    [
        ({"every": 2}, 7, (2, 4, 6, 7)),
        ({"every": 2}, 6, (2, 4, 6)),
        ({"every": 100}, 7, (7,)),
        ({"every": 0, "every_epochs": 1}, 7, (2, 4, 6, 7)),  # four images, two in a batch
        ({"every": 3, "every_epochs": 2}, 9, (3, 4, 6, 8, 9)),
        ({"every": 0}, 7, ()),
        ({"held_out": 0}, 7, ()),
    ],
)
def test_when_it_is_due(cached, settings, steps, due):
    recipe = dataclasses.replace(
        CONFIG, steps=steps, validation=ValidationConfig(**{"held_out": 1, **settings})
    )
    training = split(cached, recipe).training
    assert due_steps(training, recipe) == due
    if settings.get("every_epochs"):  # as the loop says it
        run = Run(training, recipe)
        run.go()
        ends = [event.step for event in run.observer.events if event.ends_epoch]
        every = recipe.validation.every_epochs
        assert set(ends[every - 1 :: every]) <= set(due)


def test_the_run_ends_when_patience_does(start, cached, tmp_path):
    result = start(config(patience=3)).go()
    assert len(result.losses) == 5
    assert result.stopped.startswith("stopped after step 5 of 7: 3 validations in a row")
    whole = Run(split(cached, config()).training, config(steps=5))
    assert result.losses == whole.go().losses
    assert same(tensors(result.lora), [t for _, t in sorted(whole.network.state_dict().items())])
    again = find(cached, config(patience=3), tmp_path / "runs")
    assert not again.trained and again.stopped == result.stopped and again.losses == result.losses


def test_a_result_says_when_to_stop(cached, tmp_path):
    """Two images at two timesteps each, lowest at step 2; from disk it says the same."""
    recipe = config(steps=4, timesteps=2)

    def measure(step):
        return [10 + image + abs(step - 2) for image in (0.0, 0.1, 5.0, 5.1)]

    def start():
        return WatchedRun(cached, recipe, tmp_path / "runs", measure=measure)

    result = start().go()
    said = (
        "held-out loss is lowest at step 2 (2 to 2 in 95 % of 1,000 resamplings of the 2 held-out"
    )
    assert result.advice.startswith(said) and result.advice in result.summary().splitlines()
    assert find(cached, recipe, tmp_path / "runs").advice == result.advice
    assert when_to_stop_of(result.path.parent) == result.advice
    broken = result.path.parent / "validation.json"
    data = json.loads(broken.read_text())
    data["settings"][0] = 3
    broken.write_text(json.dumps(data))
    assert when_to_stop_of(result.path.parent) == ""


def test_best_and_last_both_come_out(start, cached, tmp_path):
    recipe = config(patience=3, keep_best=True)
    result = start(recipe).go()
    two = Run(split(cached, recipe).training, dataclasses.replace(recipe, steps=2))
    two.go()
    assert same(tensors(result.best), [t for _, t in sorted(two.network.state_dict().items())])
    assert not same(tensors(result.best), tensors(result.lora))
    assert result.best.metadata["step"] == "2"
    assert (
        "best validation at step 2: -3.00000 ± 12.70620 against step 0; stopped" in result.summary()
    )
    assert [one.step for one in result.validations] == [1, 2, 3, 4, 5]
    folder = result.path.parent
    assert [path.name for path in folder.glob("best-*")] == ["best-00000002.safetensors"]
    again = find(cached, recipe, tmp_path / "runs")
    assert (
        same(tensors(again.best), tensors(result.best)) and again.validations == result.validations
    )
    assert same(tensors(again.lora), tensors(result.lora))


def test_without_keep_best_there_is_none(start):
    result = start(config(patience=3)).go()
    assert result.best is None and not list(result.path.parent.glob("best-*"))


@pytest.mark.parametrize("stops", [(1,), (3,), (4, 5)])
def test_a_run_in_pieces_ends_alike(start, cached, tmp_path, stops):
    recipe = config(patience=3, keep_best=True)
    expected = WatchedRun(cached, recipe, tmp_path / "whole", measure=sequence()).go()

    for stop in stops:
        piece = start(recipe, at_step=stop_after(stop))
        with pytest.raises(Stop):
            piece.go()
    last = start(recipe)
    assert last.first == min(stops[-1], 4)  # after step 5 it would have ended
    result = last.go()
    assert result.losses == expected.losses and result.validations == expected.validations
    assert same(tensors(result.best), tensors(expected.best))
    assert same(tensors(result.lora), tensors(expected.lora))


@pytest.mark.parametrize(
    ("first", "second", "begun", "steps", "best"),
    [
        ({"patience": 3}, {}, 5, 7, 7),  # no patience: goes on from the end
        ({}, {"patience": 3}, 0, 5, 2),  # known to have ended before: the state lies beyond
        ({}, {"patience": 1}, 0, 3, 2),
        ({"patience": 3}, {"patience": 4}, 5, 7, 7),
        ({"every": 1}, {"every": 2}, None, 7, 7),
        ({"every": 2}, {"every": 1}, 0, 7, 7),  # measurements are missing: from the start
        ({}, {"timesteps": 4}, 0, 7, 7),
        ({}, {"keep_best": True}, 5, 7, 7),  # the best will come again
        ({"patience": 3}, {"patience": 3, "keep_best": True}, 0, 5, 2),  # its best is not on disk
        ({"keep_best": True}, {}, None, 7, 7),
    ],
)
def test_other_settings_end_as_if_they_had_been_first(
    start, cached, tmp_path, first, second, begun, steps, best
):
    """``begun``: the step that the second goes on from; None: what it comes to is on disk."""
    start(config(**first), every_state=5).go()
    for path in (tmp_path / "runs").glob("*/state-00000007*"):
        path.unlink()
    found = find(cached, config(**second), tmp_path / "runs")
    assert (found is None) is (begun is not None)
    if found is None:
        run = start(config(**second), every_state=5)
        assert run.first == begun
        found = run.go()
    expected = WatchedRun(cached, config(**second), tmp_path / "other", measure=sequence()).go()
    assert len(found.losses) == steps and found.losses == expected.losses
    assert found.validations == expected.validations
    assert max(found.validations, key=lambda one: -one.difference).step == best
    assert (found.best is None) == (not second.get("keep_best"))
    if found.best is not None:
        assert same(tensors(found.best), tensors(expected.best))


def test_a_best_step_that_is_not_on_disk_is_done_again(start):
    start(config(steps=5)).go()
    again = start(config(steps=5, keep_best=True))
    assert again.first == 0 and again.go().best.metadata["step"] == "2"


def test_more_steps_keep_the_best_of_the_shorter_run(start, cached, tmp_path):
    short, long = config(steps=4, keep_best=True), config(steps=7, keep_best=True)
    first = start(short).go()
    assert start(long).first == 4
    second = start(long).go()
    names = sorted(path.name for path in second.path.parent.glob("best-*"))
    assert names == ["best-00000002.safetensors", "best-00000007.safetensors"]
    again = find(cached, short, tmp_path / "runs")
    assert same(tensors(again.best), tensors(first.best)) and not again.trained


def test_the_seven_better_ones_leave_one_file(start):
    result = start(config(keep_best=True)).go()
    assert [p.name for p in result.path.parent.glob("best-*")] == ["best-00000007.safetensors"]


@pytest.mark.parametrize("damage", ["best", "measurements"])
def test_what_is_damaged_is_made_again(start, cached, tmp_path, damage, caplog):
    recipe = config(patience=3, keep_best=True)
    first = start(recipe).go()
    folder = first.path.parent
    name = "best-00000002.safetensors" if damage == "best" else "validation.json"
    (folder / name).write_bytes(b"{")
    assert find(cached, recipe, tmp_path / "runs") is None
    again = start(recipe).go()
    assert same(tensors(again.best), tensors(first.best)) and again.losses == first.losses


def test_a_best_file_that_a_kill_left_unwritten_is_written(start, cached, tmp_path, monkeypatch):
    recipe = config(patience=3, keep_best=True)
    from pack.trainer.validation import book

    def killed(self, step, lora):
        raise Stop

    piece = start(recipe, every_state=1)
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(book.ValidationBook, "keep", killed)
        piece.go()
    result = start(recipe).go()
    expected = WatchedRun(cached, recipe, tmp_path / "whole", measure=sequence()).go()
    assert same(tensors(result.best), tensors(expected.best))
    assert torch.is_tensor(tensors(result.best)[0])


@pytest.mark.parametrize(
    "change",
    [{"every": 5}, {"patience": 2}, {"keep_best": True}, {"timesteps": 3}, {"every_epochs": 1}],
)
def test_what_only_watches_is_not_in_the_identity(change):
    assert config(**change).identity() == config().identity()


@pytest.mark.parametrize("change", [{"held_out": 2}, {"held_out": 0.5}, {"seed": 1}])
def test_what_is_held_out_is(change):
    changed = dataclasses.replace(CONFIG, validation=ValidationConfig(**{"held_out": 1, **change}))
    assert (
        changed.identity() != dataclasses.replace(CONFIG, validation=ValidationConfig(1)).identity()
    )


def test_without_held_out_pictures_the_identity_is_that_of_old():
    assert dataclasses.replace(CONFIG, validation=ValidationConfig(every=3, seed=5)).identity() == (
        CONFIG.identity()
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"held_out": -1}, "held_out is -1"),
        ({"held_out": 1.5}, "share below 1 or a whole number"),
        ({"held_out": 1, "timesteps": 1}, "timesteps is 1; it must be 2..100"),
        ({"patience": 2}, "need validations: set held_out"),
        ({"held_out": 1, "every": 0, "keep_best": True}, "need validations"),
        ({"held_out": 1, "seed": -1}, "seed is -1"),
    ],
)
def test_bad_settings_are_told(settings, words):
    with pytest.raises(ValueError, match=words):
        ValidationConfig(**settings)
