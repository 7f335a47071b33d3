"""What the host takes for a step of SDXL in full depth, and what of a step is not its computation."""

import pytest

from pack.bench import host_time, step
from pack.bench.counted.around import Around
from pack.bench.peers.way import paired

pytestmark = [pytest.mark.main_host, pytest.mark.slow]

MARGIN = 1.2
"""Times of one process differ by so much from run to run."""


@pytest.fixture(scope="module")
def ways(tmp_path_factory):
    made = host_time.make_ways(tmp_path_factory.mktemp("bench"))
    return {name: made[name]() for name in ("ours", "naive")}


def test_host_time(ways):
    assert paired(ways["ours"], ways["naive"], 1, 10) <= MARGIN * 0.70


def test_operations(ways):
    found = {name: host_time.operations(way) for name, way in ways.items()}
    assert found["ours"] <= 0.52 * found["naive"]


def test_what_is_around_the_computation_of_a_step(tmp_path):
    way, around = step.make_ways(step.scene(), tmp_path)["ours"](), Around()
    with around.watching():
        way.run(1, 8, around)
    whole, outside = around.parts()
    assert outside <= MARGIN * 0.02 * whole
