import dataclasses
import itertools

import pytest

from pack.tests.trainer.layers.test_recompute import SDXL
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.speed import SpeedConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.layers.recompute import Again, ladder
from pack.trainer.memory import plan as memory
from pack.trainer.memory.activations import MIB, Shape, activation_bytes
from pack.trainer.memory.plan import (
    GIB,
    NOTICEABLE,
    MemoryPlan,
    Need,
    plan_memory,
    plans,
    reserve_bytes,
    smaller_plan,
)

LEARNED = 46_000_000 * 16
NEED = Need(LEARNED, 1024 * 1024, 2, SDXL, rank=32)
CONFIG = TrainConfig(batch_size=4, speed=SpeedConfig(auto_compact=False))
COMPACT = dataclasses.replace(CONFIG, compact=True)
AUTO = TrainConfig(batch_size=4)
NOTHING = dict.fromkeys(SDXL, Again.NOTHING)
ALL = dict.fromkeys(SDXL, Again.ALL)
LARGE_ONLY = {block: Again.NOTHING if block.size == "large" else Again.ALL for block in SDXL}


def bytes_of(levels, micro_batch=1, config=CONFIG, compact=None, **parts):
    need = dataclasses.replace(NEED, **parts)
    if compact is None:
        compact = config.kinds_of_layers[-1]
    return reserve_bytes(config, need, levels, micro_batch, compact=compact)


def test_the_need_is_what_learns_and_the_peak_of_a_micro_batch():
    def peak(levels=ALL, **shape):
        values = {"samples": 1, "pixels": 1024**2, "itemsize": 2, "rank": 32, **shape}
        activations = activation_bytes(levels, Shape(**values), compact=False, fused=True)
        return int(LEARNED + activations + memory.WORKSPACES)

    assert bytes_of(ALL) == peak()
    assert bytes_of(NOTHING, 3) == peak(NOTHING, samples=3)
    assert bytes_of(ALL, rank=64) == peak(rank=64)
    assert bytes_of(ALL, itemsize=4) == peak(itemsize=4)
    assert bytes_of(ALL, pixels=512 * 512) == peak(pixels=512 * 512)
    assert bytes_of(ALL, conv_rank=4) == peak(conv_rank=4)
    assert bytes_of(NOTHING, chunks=3) == peak(NOTHING, chunks=3)
    text = int(2 * 3 * 0.3 * GIB)
    assert bytes_of(ALL, 2, chunks=3, trains_text=True) == peak(samples=2, chunks=3) + text


def test_recordings_keep_activations_of_their_own():
    recorded = dataclasses.replace(CONFIG, speed=SpeedConfig(cuda_graphs=True))
    activations = bytes_of(ALL, 3) - LEARNED - memory.WORKSPACES
    assert bytes_of(ALL, 3, recorded, compact=False) == pytest.approx(
        LEARNED + memory.WORKSPACES + 2 * activations, abs=2
    )


def test_the_optimisers_step_counts_where_it_needs_more_than_a_micro_batch():
    """Its memory comes when activations are gone."""
    least = bytes_of(ALL)
    assert bytes_of(ALL, update=least - LEARNED) == least
    assert bytes_of(ALL, update=least - LEARNED + 5) == least + 5


@pytest.mark.parametrize("compact", [False, True])
def test_without_a_fused_kernel_scores_are_kept(compact):
    """Of 1024 x 1024 pixels, 10 heads x 4096 x 4096 in 16 bits are 320 MiB for each large block."""

    def more(levels, **parts):
        return bytes_of(levels, compact=compact, fused_attention=False, **parts) - bytes_of(
            levels, compact=compact, **parts
        )

    kept = 10 * 320 * MIB
    assert kept < more(LARGE_ONLY) < 1.35 * kept
    assert more(LARGE_ONLY, pixels=1536 * 1536) == pytest.approx(1.5**4 * more(LARGE_ONLY), rel=0.1)
    assert 2 * 320 * MIB < more(ALL) < 3 * 320 * MIB  # of one block at a time


def test_what_attention_gives_cannot_be_kept_alone_without_a_fused_kernel():
    most = dict.fromkeys(SDXL, Again.ALL_BUT_ATTENTION)
    most |= {block: Again.ALL for block in SDXL if block.size == "resnet"}
    assert bytes_of(most, fused_attention=False) == bytes_of(ALL, fused_attention=False)


@pytest.mark.parametrize("compact", [False, True])
def test_computing_more_again_never_needs_more(compact):
    needs = [bytes_of(levels, compact=compact) for levels in ladder(SDXL, compact=compact)]
    assert needs == sorted(needs, reverse=True)


def test_compact_layers_count_where_the_lora_is_plain():
    def need(**lora):
        config = dataclasses.replace(COMPACT, lora=LoraConfig(**lora))
        return plan_memory(config, NEED, None)

    assert need().compact and need().reserve < bytes_of(NOTHING, 4) - 8 * GIB
    for lora in ({"dropout": 0.1}, {"dora": True}, {"algorithm": "loha"}):
        assert not need(**lora).compact
        assert not any(
            plan.compact for plan in plans(AUTO.having(lora=LoraConfig(**lora)), NEED, 0)
        )


@pytest.mark.parametrize(
    ("kind", "tensors"),
    [
        ({}, 0),
        ({"algorithm": "lokr"}, 0),
        ({"algorithm": "loha"}, 5),
        ({"dora": True}, 2),
        ({"algorithm": "full"}, 2),
    ],
)
def test_changes_that_are_put_together_need_room(kind, tensors):
    config = dataclasses.replace(CONFIG, lora=LoraConfig(**kind))
    assert bytes_of(ALL, 1, config) == bytes_of(ALL) + tensors * 1280 * 2560 * 9 * 4


def test_a_batch_that_is_stepped_within_backward_is_not_split():
    lora = LoraConfig(algorithm="full", fused_backward=True)
    fused = dataclasses.replace(AUTO, lora=lora, accumulation=1)
    found = list(plans(fused, NEED, 0))
    assert {plan.micro_batch for plan in found} == {fused.batch_size} and len(found) > 1


def test_without_a_limit_nothing_is_given_up():
    assert plan_memory(CONFIG, NEED, None) == MemoryPlan(
        False, NOTHING, 4, bytes_of(NOTHING, 4), True
    )


@pytest.mark.parametrize("config", [CONFIG, COMPACT])
def test_the_fastest_plan_that_fits_is_taken(config):
    """Halves of the batch first, then one block more after the other."""
    steps = list(ladder(SDXL, compact=config.compact))
    order = [(NOTHING, 4), (NOTHING, 2), *((levels, 1) for levels in steps)]
    assert [(p.levels, p.micro_batch) for p in plans(config, NEED, None)] == order
    found = [dataclasses.replace(plan, fits=True) for plan in plans(config, NEED, 0)]
    for plan, following in zip(found, [*found[1:], None], strict=True):
        assert plan.compact == config.compact
        assert plan.reserve == bytes_of(plan.levels, plan.micro_batch, config)
        if following is None or following.reserve < plan.reserve:
            assert plan_memory(config, NEED, plan.reserve).reserve == plan.reserve
        if following is not None and following.reserve < plan.reserve:
            assert plan_memory(config, NEED, plan.reserve - 1) == following


def test_where_nothing_fits_the_smallest_plan_is_taken():
    for config in (CONFIG, COMPACT, AUTO):
        least = min(plan.reserve for plan in plans(config, NEED, 0))
        found = plan_memory(config, NEED, 0)
        assert found.reserve == least and not found.fits


@pytest.mark.parametrize(("choice", "levels"), [("off", NOTHING), ("full", ALL)])
def test_a_choice_is_obeyed(choice, levels):
    assert not plan_memory(dataclasses.replace(AUTO, checkpointing=choice), NEED, 0).compact
    config = dataclasses.replace(COMPACT, checkpointing=choice)
    for available in (None, bytes_of(NOTHING, 1, COMPACT), 0):
        assert plan_memory(config, NEED, available).levels == levels
    assert plan_memory(config, NEED, None).micro_batch == 4
    assert plan_memory(config, NEED, 0).micro_batch == 1


def test_a_model_without_blocks_has_one_plan():
    need = dataclasses.replace(NEED, blocks=())
    assert [plan_memory(CONFIG, need, a).levels for a in (None, 0)] == [{}, {}]


def test_the_recipe_fits_a_card_of_12_gib_beside_the_weights():
    for config in (TrainConfig(), TrainConfig(compact=True), CONFIG):
        assert plan_memory(config, NEED, int((12 - 4.8) * GIB)).fits


def test_compact_layers_fit_there_with_nothing_again():
    plan = plan_memory(TrainConfig(compact=True), NEED, int((12 - 4.8) * GIB))
    assert plan.levels == NOTHING and plan.micro_batch == 1


def test_compact_layers_come_before_a_smaller_batch_and_before_computing_again():
    """They cost hardly any work; once chosen they stay, since each later plan needs less with them."""
    found = list(plans(AUTO, NEED, None))
    compact = list(plans(COMPACT, NEED, None))
    assert [(p.compact, p.levels, p.micro_batch) for p in found[:2]] == [
        (False, NOTHING, 4), (True, NOTHING, 4),
    ]  # fmt: skip
    assert found[1:] == compact
    whole, small = (bytes_of(NOTHING, 4, compact=kind) for kind in (False, True))
    assert not plan_memory(AUTO, NEED, whole).compact
    assert plan_memory(AUTO, NEED, whole - 1).compact
    assert plan_memory(AUTO, NEED, whole - 1).reserve == small


def test_the_choice_of_compact_layers_can_be_turned_off():
    for plan in plans(CONFIG, NEED, 0):
        assert not plan.compact


@pytest.mark.parametrize("config", [CONFIG, COMPACT, AUTO])
def test_where_memory_runs_out_each_next_plan_is_noticeably_smaller(config):
    """From the fastest down to the smallest, by the fewest steps that make a difference."""
    every = list(plans(config, NEED, None))
    plan, walked = every[0], []
    while plan is not None:
        walked.append(plan)
        plan = smaller_plan(config, NEED, plan)
    assert walked[-1] == every[-1] and len(walked) < len(every)
    for before, after in itertools.pairwise(walked[:-1]):
        assert after.reserve <= before.reserve - NOTICEABLE
        between = every[every.index(before) + 1 : every.index(after)]
        assert all(one.reserve > before.reserve - NOTICEABLE for one in between)


def test_a_choice_is_obeyed_where_memory_runs_out():
    """Without recomputation only the batch can be split."""
    off = dataclasses.replace(CONFIG, checkpointing="off")
    plan, sizes = plan_memory(off, NEED, None), []
    while plan is not None:
        sizes.append(plan.micro_batch)
        plan = smaller_plan(off, NEED, plan)
    assert sizes == [4, 2, 1]


def test_a_plan_says_what_it_does():
    text = MemoryPlan(False, ALL, 2, 3 * GIB, True).describe()
    assert "all blocks recomputed" in text and "2 sample(s)" in text and "3.0 GiB" in text
    assert "compact" not in text
    text = MemoryPlan(True, NOTHING, 1, 0, True).describe()
    assert text.startswith("memory plan: compact layers; no block recomputed; 1 sample")
