"""The loop: its numbers, its events, its commands."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pack.tests.trainer.tiny_cache import FINGERPRINT, make_cache, make_item
from pack.tests.trainer.tiny_run import CONFIG, Observer, Run, same
from pack.tests.trainer.tiny_unet import PlainWeights, make_model
from pack.trainer.batches.training_data import TrainingData
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.layers.attach import Attachment, leaf_plan
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets
from pack.trainer.optim.lr_schedule import learning_rate
from pack.trainer.training.loop import Loop
from pack.trainer.training.step import draw


@pytest.fixture
def cached(tmp_path):
    return make_cache(tmp_path, *(make_item(number, weight=1 + number / 4) for number in range(5)))


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(cached):
    runs = [Run(cached, dataclasses.replace(CONFIG, seed=seed)) for seed in (1, 1, 2)]
    torch.manual_seed(0)
    losses = []
    for run in runs:
        losses.append(run.go().losses)
        torch.rand(1)
    assert losses[0] == losses[1] and same(runs[0].factors, runs[1].factors)
    assert not set(losses[0]) & set(losses[2])


def test_the_global_generator_is_not_touched(cached):
    before = torch.random.get_rng_state()
    Run(cached).go()
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_every_step_is_what_plain_pytorch_makes_of_it(cached, accumulation):
    """The whole run once more, with autograd through everything and PyTorch's own AdamW."""
    optimiser = OptimiserConfig(learning_rate=1e-3, schedule="cosine", warmup=2, max_grad_norm=0.05)
    config = dataclasses.replace(CONFIG, accumulation=accumulation, optimiser=optimiser)
    run, other = Run(cached, config), Run(cached, config)
    outcome = run.go()
    adamw = torch.optim.AdamW(other.network.parameters(), lr=1.0, weight_decay=0.01)
    for target in other.network.targets:
        adapter = other.network.adapters[target.key]
        target.module.register_forward_hook(
            lambda _, inputs, output, adapter=adapter: output + adapter(*inputs)
        )
    for module in other.unet.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                module._parameters[name] = nn.Parameter(parameter.clone(), requires_grad=False)
    alphas = other.model.schedule.alphas_cumprod
    for event, (epoch, batches, _) in zip(
        run.observer.events, other.data.steps(config), strict=False
    ):
        losses = []
        for items in batches:
            batch = other.data.load(items)
            noise, timesteps, _ = draw(batch, config, epoch, 1000)
            ac = alphas[timesteps].view(-1, 1, 1, 1)
            noisy = ac.sqrt() * batch.latents + (1 - ac).sqrt() * noise
            answer = other.unet(noisy, timesteps.float(), batch.context, batch.y)
            errors = F.mse_loss(answer, noise, reduction="none").mean((1, 2, 3))
            losses.append((errors * batch.weights).mean())
        (sum(losses) / accumulation).backward()
        losses = [float(loss.detach()) for loss in losses]
        norm = nn.utils.clip_grad_norm_(other.network.parameters(), 0.05)
        for group in adamw.param_groups:
            group["lr"] = event.learning_rate
        adamw.step()
        adamw.zero_grad()
        assert event.loss == pytest.approx(sum(losses) / len(losses), rel=1e-5)
        assert event.grad_norm == pytest.approx(float(norm), rel=1e-4)
        assert event.epoch == epoch + 1
    assert outcome.losses == tuple(event.loss for event in run.observer.events)
    for ours, theirs in zip(run.factors, other.factors, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_events_carry_the_numbers_of_their_step(cached):
    optimiser = OptimiserConfig(learning_rate=1e-3, schedule="linear", warmup=2)
    config = dataclasses.replace(CONFIG, steps=7, optimiser=optimiser)
    run = Run(cached, config)
    outcome = run.go()
    events = run.observer.events
    assert [event.step for event in events] == [1, 2, 3, 4, 5, 6, 7]
    assert {event.steps for event in events} == {7}
    assert [event.epoch for event in events] == [1, 1, 1, 2, 2, 2, 3]
    assert [event.learning_rate for event in events] == [
        learning_rate(optimiser, step, 7) for step in range(7)
    ]
    assert events[0].learning_rate == 0.0
    planned = run.data.steps(config)
    areas = [math.prod(item.bucket) for item in cached.items]
    assert [event.pixels for event in events] == [
        sum(areas[item.item_index] for items in batches for item in items)
        for _, (_, batches, _) in zip(events, planned, strict=False)
    ]
    assert all(event.applied and event.warning is None for event in events)
    assert all(event.grad_norm > 0 for event in events)
    seconds = [event.seconds for event in events]
    assert seconds == sorted(seconds) and seconds[0] > 0
    assert outcome.losses == tuple(event.loss for event in events)
    assert (outcome.steps, outcome.stopped) == (7, None)


def test_the_first_step_of_a_warm_up_moves_nothing(cached):
    start = Run(cached).factors
    warm = dataclasses.replace(CONFIG, steps=1, optimiser=OptimiserConfig(warmup=1))
    run = Run(cached, warm)
    run.go()
    assert same(run.factors, start)
    run = Run(cached, dataclasses.replace(CONFIG, steps=1))
    run.go()
    assert not same(run.factors, start)


@pytest.mark.parametrize("micro_batch", [1, 2])
def test_micro_batches_change_nothing_but_memory(cached, micro_batch):
    config = dataclasses.replace(CONFIG, batch_size=3, accumulation=2)
    whole, parts = Run(cached, config), Run(cached, config, micro_batch=micro_batch)
    expected, found = whole.go().losses, parts.go().losses
    assert found == pytest.approx(expected, rel=1e-6)
    for ours, theirs in zip(parts.factors, whole.factors, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert max(parts.calls) == micro_batch and max(whole.calls) == 3
    assert parts.observer.batches == len(parts.calls) > len(whole.calls)


class Cancelled(BaseException):
    pass


@pytest.mark.parametrize("kind", [Cancelled, KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("where", ["before_batch", "on_step"])
def test_whatever_the_observer_raises_comes_through(cached, kind, where):
    class Stopping(Observer):
        def before_batch(self):
            super().before_batch()
            if where == "before_batch" and self.batches == 3:
                raise kind

        def on_step(self, event):
            super().on_step(event)
            if where == "on_step" and event.step == 2:
                raise kind

    run = Run(cached, observer=Stopping())
    with pytest.raises(kind):
        run.go()
    assert len(run.observer.events) == 2
    shorter = Run(cached, dataclasses.replace(CONFIG, steps=2))
    shorter.go()
    assert same(run.factors, shorter.factors)


def test_a_weighting_for_the_other_prediction_is_refused_before_work(cached):
    config = dataclasses.replace(CONFIG, loss=LossConfig(scale_v_pred=True))
    with pytest.raises(ValueError, match="scale_v_pred"):
        Run(cached, config)


def test_it_learns_what_can_be_learnt(tmp_path):
    """A layer of zeros that could pass on the noise: the loss begins at 1 and falls by half."""
    block = type("SpatialTransformer", (nn.Sequential,), {})(nn.Conv2d(4, 4, 1, bias=False))
    unet = nn.Sequential(block).requires_grad_(False)
    unet[0][0].weight.zero_()
    config = TrainConfig(
        steps=200,
        batch_size=1,
        lora=LoraConfig(rank=4, alpha=4.0),
        optimiser=OptimiserConfig(learning_rate=1e-2),
    )
    network = Network(find_targets(unet, config.lora))
    model = dataclasses.replace(make_model(unet), predict=lambda x, *_: unet(x))
    data = TrainingData(make_cache(tmp_path, make_item(0)), FINGERPRINT)
    with Attachment(leaf_plan(unet, network, PlainWeights())):
        losses = Loop(model, network, data, config).run(Observer()).losses
    assert losses[0] == pytest.approx(1.0, abs=0.2)
    assert sum(losses[-50:]) < 0.5 * sum(losses[:5]) * 10


def test_a_schedule_free_run_ends_where_its_weights_are_averaged(tmp_path):
    config = dataclasses.replace(
        CONFIG, optimiser=OptimiserConfig(learning_rate=1e-2, type="AdamWScheduleFree")
    )
    seen, cached = [], make_cache(tmp_path)

    def look(event):
        trained = run.factors
        with run.loop.averaged():
            seen.append(run.factors)
        assert same(run.factors, trained)

    run = Run(cached, config, observer=Observer(look))
    run.go()
    assert same(seen[-1], run.factors) and not same(seen[-2], seen[-1])
    unwatched = Run(cached, config)
    unwatched.go()
    assert same(unwatched.factors, run.factors)


def with_lora(**changes):
    return dataclasses.replace(CONFIG, lora=dataclasses.replace(CONFIG.lora, **changes))


DROPOUTS = {"dropout": 0.3, "rank_dropout": 0.3, "module_dropout": 0.3}


@pytest.mark.parametrize("chance", DROPOUTS)
def test_dropout_changes_the_run_and_not_what_is_looked_at_between_steps(cached, chance):
    seen = []

    def look(_):
        seen.extend(adapter.dropout for adapter in run.network.adapters.values())

    run = Run(cached, with_lora(**{chance: 0.3}), observer=Observer(look))
    plain = Run(cached)
    assert run.go().losses != plain.go().losses and not same(run.factors, plain.factors)
    assert seen and set(seen) == {None}


def test_dropout_does_not_depend_on_how_batches_are_split(cached):
    whole = Run(cached, with_lora(**DROPOUTS))
    split = Run(cached, with_lora(**DROPOUTS), micro_batch=1)
    losses = whole.go().losses
    assert split.go().losses == pytest.approx(losses, rel=1e-5)
    assert losses != Run(cached, with_lora(**DROPOUTS | {"dropout": 0.4})).go().losses


def test_no_layer_ever_changes_by_more_than_the_limit(cached):
    longest = []

    def look(_):
        lengths = [
            (a.up.flatten(1) @ a.down.flatten(1) * a.scale).norm().item()
            for a in run.network.adapters.values()
        ]
        longest.append(max(lengths))

    run = Run(cached, with_lora(max_norm=1e-4), observer=Observer(look))
    run.go()
    assert all(length <= 1e-4 * (1 + 1e-4) for length in longest)
    assert max(longest) == pytest.approx(1e-4, rel=1e-3)


def test_up_factors_learn_faster(cached):
    """The first step of AdamW moves every parameter by its learning rate."""
    optimiser = OptimiserConfig(learning_rate=1e-3, weight_decay=0.0, max_grad_norm=0.0)
    config = dataclasses.replace(with_lora(loraplus_ratio=16.0), steps=1, optimiser=optimiser)
    run = Run(cached, config)
    run.go()
    moved = [adapter.up.abs().max().item() for adapter in run.network.adapters.values()]
    assert moved == pytest.approx([16e-3] * len(moved), rel=1e-3)
    assert run.observer.events[0].learning_rate == pytest.approx(1e-3)
