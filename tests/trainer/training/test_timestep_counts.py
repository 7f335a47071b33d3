"""The histogram of a run's timesteps, found again without the run: that of what its loop really drew."""

import dataclasses

import pytest

from pack.tests.trainer.tiny_cache import make_cache, make_item
from pack.tests.trainer.tiny_run import CONFIG, Run
from pack.trainer.config.loss import LossConfig
from pack.trainer.training import prefetch, timestep_counts
from pack.trainer.training.timestep_counts import PARTS, drawn_counts


@pytest.mark.parametrize(("accumulation", "steps"), [(1, 7), (2, 5), (3, 4)])
def test_it_is_that_of_the_run(tmp_path, monkeypatch, accumulation, steps):
    cached = make_cache(tmp_path, *(make_item(number, repeats=2) for number in range(5)))
    config = dataclasses.replace(
        CONFIG, steps=steps, accumulation=accumulation, loss=LossConfig(timestep_sampling="laplace")
    )
    seen, draw = [0] * PARTS, prefetch.draw

    def watched(*inputs):
        draws = draw(*inputs)
        for timestep in draws.timesteps.tolist():
            seen[timestep * PARTS // 1000] += 1
        return draws

    monkeypatch.setattr(prefetch, "draw", watched)
    Run(cached, config).go()
    assert drawn_counts(cached, config, steps) == tuple(seen)
    monkeypatch.setattr(timestep_counts, "MOST", 3)
    assert sum(drawn_counts(cached, config, steps)) == 3
