import dataclasses

import pytest

from pack.trainer.config import LoraConfig, TrainConfig
from pack.trainer.memory import GIB, MemoryPlan, plan_memory, reserve_bytes

PIXELS = 1024 * 1024
PARAMETERS = 46_000_000
CONFIG = TrainConfig(batch_size=4)
ORDER = [(False, 4), (False, 1), (True, 4), (True, 1)]
"""Plans from the fastest to the smallest."""


def need(checkpointing, micro_batch, itemsize=2, pixels=PIXELS):
    return reserve_bytes(PARAMETERS, pixels, micro_batch, itemsize, checkpointing=checkpointing)


def plan(available, config=CONFIG):
    return plan_memory(config, PARAMETERS, PIXELS, 2, available)


def test_the_need_is_adapters_and_activations():
    assert need(False, 0) == PARAMETERS * (4 + 4 + 8)
    per_sample = need(False, 3) - need(False, 2)
    assert per_sample == pytest.approx((6.11 + 0.4) * GIB, rel=1e-6)
    assert need(True, 1) - need(True, 0) == pytest.approx((0.48 + 0.4) * GIB, rel=1e-6)
    extra = need(False, 2, itemsize=4) - need(False, 0)
    assert extra == pytest.approx(4 * per_sample, rel=1e-6)
    assert need(False, 2, pixels=PIXELS // 4) - need(False, 0) == pytest.approx(
        per_sample / 2, rel=1e-6
    )


def test_compact_layers_need_less_where_the_lora_is_plain():
    def per_sample(**lora):
        one, two = (
            plan(None, TrainConfig(batch_size=n, compact=True, lora=LoraConfig(**lora)))
            for n in (1, 2)
        )
        return (two.reserve - one.reserve) / GIB

    assert per_sample() == pytest.approx(3.73 + 0.4, rel=1e-6)
    for lora in ({"dropout": 0.1}, {"dora": True}, {"algorithm": "loha"}):
        assert per_sample(**lora) == pytest.approx(6.11 + 0.4, rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "tensors"),
    [({}, 0), ({"algorithm": "lokr"}, 0), ({"algorithm": "loha"}, 5), ({"dora": True}, 2)],
)
def test_changes_that_are_put_together_need_room(kind, tensors):
    config = dataclasses.replace(CONFIG, lora=LoraConfig(**kind))
    assert plan(None, config).reserve == need(False, 4) + tensors * 1280 * 2560 * 9 * 4


def test_without_a_limit_nothing_is_given_up():
    assert plan(None) == MemoryPlan(False, 4, need(False, 4), True)


@pytest.mark.parametrize("place", range(4))
def test_the_fastest_plan_that_fits_is_taken(place):
    checkpointing, micro_batch = ORDER[place]
    wanted = need(checkpointing, micro_batch)
    assert plan(wanted) == MemoryPlan(checkpointing, micro_batch, wanted, True)
    if place < 3:
        following = ORDER[place + 1]
        assert (plan(wanted - 1).checkpointing, plan(wanted - 1).micro_batch) == following


def test_when_nothing_fits_the_smallest_is_taken_and_says_so():
    smallest = need(True, 1)
    assert plan(smallest - 1) == MemoryPlan(True, 1, smallest, False)


@pytest.mark.parametrize(("choice", "checkpointing"), [("off", False), ("full", True)])
def test_a_choice_is_obeyed(choice, checkpointing):
    config = dataclasses.replace(CONFIG, checkpointing=choice)
    for available in (None, need(False, 1), 0):
        assert plan(available, config).checkpointing is checkpointing
    assert plan(None, config).micro_batch == 4 and plan(0, config).micro_batch == 1


def test_the_recipe_fits_a_card_of_12_gib_beside_the_weights():
    config = TrainConfig()
    chosen = plan_memory(config, PARAMETERS, PIXELS, 2, int((12 - 4.8) * GIB))
    assert chosen.fits


def test_a_plan_says_what_it_does():
    text = MemoryPlan(True, 2, 3 * GIB, True).describe()
    assert "blocks recomputed" in text and "2 sample(s)" in text and "3.0 GiB" in text
    assert "no block recomputed" in MemoryPlan(False, 1, 0, True).describe()
