"""The loop in several processes over gloo: the numbers of one process, and its end."""

import dataclasses
import os
import signal
import time
from functools import partial

import pytest
import torch

from pack.tests.trainer.several import together
from pack.tests.trainer.tiny_cache import make_cache, make_item
from pack.tests.trainer.tiny_run import CONFIG, Observer, Run, same
from pack.trainer.batches.shares import check_shares, share
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.device.ranks import RankLost, Ranks
from pack.trainer.training.loop import Loop

SHARED = dataclasses.replace(CONFIG, batch_size=4)


@pytest.fixture
def cached(tmp_path):
    """Seven images in two buckets: batches of four and of three."""
    places = [(64, 64), (64, 64), (64, 64), (64, 64), (96, 64), (96, 64), (96, 64)]
    items = (make_item(n, bucket, weight=1 + n / 4) for n, bucket in enumerate(places))
    return make_cache(tmp_path, *items)


def run(cached, config, ranks=None, micro_batch=None, **more):
    """A run, ready to go, of these ranks."""
    found = Run(cached, config, **more)
    rest = [micro_batch, more.get("start")] + ([None, ranks] if ranks else [])
    found.loop = Loop(found.model, found.network, found.data, config, *rest)
    return found


def numbers(found):
    """What came of a run, for another process."""
    outcome = found.go()
    events = [
        (event.loss, event.grad_norm, event.applied, event.pixels, event.bands)
        for event in found.observer.events
    ]
    return outcome, events, found.factors


def near(one, other):
    pairs = zip(one, other, strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


CASES = {
    "batches": {},
    "accumulation": {"accumulation": 2},
    "one image a batch": {"batch_size": 1, "accumulation": 4},
    "dropout": {"lora": LoraConfig(rank=2, alpha=2.0, dropout=0.3, module_dropout=0.2)},
    "parameter by parameter": {
        "optimiser": OptimiserConfig(type="Adafactor", learning_rate=1e-3, max_grad_norm=0.05)
    },
    "ranks by timestep": {"lora": LoraConfig(rank=4, alpha=4.0, least_rank=1)},
    "clipped": {"optimiser": OptimiserConfig(learning_rate=1e-3, max_grad_norm=0.05)},
}


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("case", CASES)
def test_ranks_make_the_lora_of_one_process(cached, case, world):
    config = dataclasses.replace(SHARED, **CASES[case])
    alone, events, factors = numbers(run(cached, config))
    found = together(world, lambda ranks: numbers(run(cached, config, ranks)))
    begun = run(cached, config).factors
    assert near(begun, factors) > 1e-3
    for outcome, told, theirs in found:
        assert near(theirs, factors) < 1e-5
        assert outcome.losses == pytest.approx(alone.losses, rel=1e-5)
        assert outcome.losses == found[0][0].losses  # to the bit, or ranks would decide differently
        assert same(theirs, found[0][2])
        for ours, event in zip(told, events, strict=True):
            assert ours[:2] == pytest.approx(event[:2], rel=1e-4)
            assert ours[2:4] == event[2:4]
            assert ours[4] == pytest.approx(event[4], rel=1e-4, nan_ok=True)


@pytest.mark.parametrize("lora", [SHARED.lora, LoraConfig(algorithm="full")])
def test_two_ranks_are_one_process_that_halves_its_batches_to_the_bit(tmp_path, lora):
    config = dataclasses.replace(SHARED, lora=lora)
    cached = make_cache(tmp_path, *(make_item(number) for number in range(8)))
    outcome, _, factors = numbers(run(cached, config, micro_batch=2))
    for theirs in together(2, lambda ranks: numbers(run(cached, config, ranks))):
        assert theirs[0] == outcome
        assert same(theirs[2], factors)


def test_every_sample_is_one_ranks():
    for batches in ([range(4)], [range(3), range(4)], [range(1)], [range(4), range(4), range(2)]):
        for world in (1, 2, 3, 4):
            shares = [share(batches, Ranks(rank, world)) for rank in range(world)]
            for number, batch in enumerate(batches):
                assert [s for own in shares for s in own[number]] == list(batch)
            sizes = [sum(map(len, own)) for own in shares]
            assert max(sizes) - min(sizes) <= 1


def test_a_loss_that_is_not_finite_is_skipped_by_all(cached):
    def spoil(found, *inputs):
        prediction = found.unet(*inputs)
        return prediction * float("nan") if found.spoilt() else prediction

    def work(ranks):
        found = run(cached, SHARED, ranks, spoil=spoil)
        found.spoilt = lambda: ranks.rank == 1 and len(found.loop.losses) == 2
        return numbers(found)

    for _, events, factors in together(2, work):
        assert [event[2] for event in events] == [True, True, False, True, True, True]
        assert all(factor.isfinite().all() for factor in factors)


def test_rank_0_says_when_it_ends(cached):
    class Stopping(Observer):
        def on_step(self, event):
            return "that is enough" if event.step == 3 else None

    def work(ranks):
        observer = Stopping() if ranks.leads else Observer()
        found = run(cached, SHARED, ranks, observer=observer)
        outcome = found.go()
        return outcome.stopped, outcome.steps, found.loop.state() is None

    assert together(2, work) == [("that is enough", 3, False), ("that is enough", 3, True)]


@pytest.mark.parametrize("victim", [0, 1, 3])
@pytest.mark.parametrize("how", ["killed", "error"])
def test_who_ends_ends_all(cached, victim, how):
    class Ending(Observer):
        def before_batch(self):
            if self.ranks.rank == victim and len(self.events) >= 2:  # rank 0 has none of three
                if how == "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise ValueError("a full disk")

    def work(ranks):
        observer = Ending()
        observer.ranks = ranks
        found = run(cached, SHARED, ranks, observer=observer)
        begin = time.monotonic()
        try:
            found.go()
        except RankLost as lost:
            state = found.loop.state()
            assert time.monotonic() - begin < 60
            return str(lost), state and state.step
        return None

    found = together(4, work)
    gone = found.pop(victim)
    assert gone is None if how == "killed" else str(gone) == "a full disk"
    assert all("another process of this training has ended" in said for said, _ in found)
    steps = [step for _, step in found]
    assert steps == ([2] if victim else []) + [None] * (3 if not victim else 2)


def test_what_one_process_has_reached_others_go_on_with(cached):
    whole = numbers(run(cached, SHARED))
    half = dataclasses.replace(SHARED, steps=3)

    def work(ranks):
        found = run(cached, half, ranks)
        found.go()
        return found.loop.state()

    for world in (4, 2):
        state = together(world, work)[0]
        go_on = partial(run, cached, SHARED, start=state)
        rest = together(6 - world, lambda ranks, go_on=go_on: numbers(go_on(ranks)))
        assert near(rest[0][2], whole[2]) < 1e-5
        assert rest[0][0].losses == pytest.approx(whole[0].losses, rel=1e-5)


def test_what_several_cannot_share_is_refused():
    for world in (1, 2, 4):
        check_shares(SHARED, Ranks(0, world))
    check_shares(dataclasses.replace(SHARED, accumulation=3), Ranks(0, 6))
    with pytest.raises(ValueError, match=r"can: 1, 2, 4\. Or change train_batch_size"):
        check_shares(SHARED, Ranks(0, 3))
    fused = dataclasses.replace(SHARED, lora=LoraConfig(algorithm="full", fused_backward=True))
    with pytest.raises(ValueError, match="fused_backward_pass"):
        check_shares(fused, Ranks(0, 2))
    check_shares(fused, Ranks(0, 1))


def test_one_process_exchanges_nothing():
    alone = Ranks()
    tensor = torch.ones(2)
    alone.sum(tensor)
    assert torch.equal(tensor, torch.ones(2))
    assert (alone.gather(3), alone.tell(4), alone.leads, alone.are_several) == ([3], 4, True, False)
