"""Recorded micro batches: the numbers of plain ones, recorded when it pays, dropped when it must be."""

import dataclasses
import itertools
import logging

import pytest
import torch
from torch import nn

from pack.tests.trainer.tiny_unet import (
    CONTEXT,
    MovingWeights,
    PlainWeights,
    Y,
    make_model,
    make_unet,
)
from pack.tests.trainer.training.recorders import Broken, Repeater
from pack.trainer.batches.plan import BatchItem
from pack.trainer.batches.training_data import Batch
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.layers.attach import Attachment, checkpoint_plan, leaf_plan
from pack.trainer.network.dropout import Dropout
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets
from pack.trainer.training import cuda_graphs
from pack.trainer.training.cuda_graphs import USES, Graphs
from pack.trainer.training.gradients import Gradients, MicroBatch
from pack.trainer.training.step import Draws

CONFIG = TrainConfig(lora=LoraConfig(rank=2, alpha=2.0), accumulation=2)
DROPOUT = Dropout(LoraConfig(rank=2, dropout=0.5), 1, 0, (BatchItem(0, 0, False),) * 2)


def make_micro(seed, side=8, tokens=5, count=2, share=1.0, masked=False, **item):
    """A micro batch of random numbers; ``item``: of its first sample."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=rng)

    items = [BatchItem(number, 0, False) for number in range(count)]
    items[0] = items[0]._replace(**item)
    batch = Batch(
        latents=normal(count, 4, side, 8),
        context=normal(count, tokens, CONTEXT),
        y=normal(count, Y),
        weights=normal(count).abs(),
        items=tuple(items),
        mask=torch.rand(count, side, 8, generator=rng) if masked else None,
    )
    draws = Draws(normal(count, 4, side, 8), torch.randint(0, 1000, (count,), generator=rng))
    return MicroBatch(batch, draws, share)


class Scene:
    """Adapters on the tiny UNet, their gradients at zero; ``run`` computes micro batches."""

    def __init__(self, recorder=None, weights=None, config=CONFIG):
        self.unet, self.recorder = make_unet(), recorder
        self.weights = weights or PlainWeights()
        self.network = Network(find_targets(self.unet, config.lora), 1, weights=self.weights)
        rng = torch.Generator().manual_seed(5)
        for parameter in self.network.parameters():
            with torch.no_grad():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=rng))
            parameter.grad = torch.zeros_like(parameter)
        self.calls = 0
        model = dataclasses.replace(make_model(self.unet), predict=self._predict)
        self.compute = Gradients(model, self.network, config, lambda loss: loss.backward())
        plan = leaf_plan(self.unet, self.network, self.weights)
        self.modules = [leaf.module for leaf in plan]
        self.plan = [*plan, *checkpoint_plan(self.unet)]
        if recorder is not None:
            recorder.network = self.network
            place = torch.float32, torch.device("cpu")
            self.graphs = Graphs(recorder, self.network, self.weights, self.modules, *place)
            self.compute = self.graphs.around(self.compute)

    def _predict(self, *inputs):
        self.calls += 1
        return self.unet(*inputs)

    def run(self, *micros):
        with Attachment(self.plan):
            return [self.compute(micro) for micro in micros]

    @property
    def gradients(self):
        return torch.cat([parameter.grad.flatten() for parameter in self.network.parameters()])


SHAPES = (
    {},
    {"side": 16},
    {"tokens": 10},
    {"count": 1, "share": 0.5},
    {"count": 1},
    {"masked": True},
)


def test_the_numbers_are_those_of_plain_computing_to_the_bit():
    plain, recorded = Scene(), Scene(Repeater())
    seeds = itertools.count()
    micros = [make_micro(next(seeds), **shape) for _ in range(6) for shape in SHAPES]
    expected, found = plain.run(*micros), recorded.run(*micros)
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one.terms, other.terms) and torch.equal(one.samples, other.samples)
    assert torch.equal(plain.gradients, recorded.gradients) and plain.gradients.any()
    assert recorded.recorder.recorded == len(SHAPES)
    assert recorded.recorder.replayed == len(SHAPES) * (6 - USES)


def test_a_replay_runs_nothing_of_the_model():
    class Silent(Repeater):
        def record(self, work):
            super().record(work)
            results = work()
            return lambda: results

    scene = Scene(Silent())
    scene.run(*map(make_micro, range(USES)))
    before = scene.calls
    scene.run(*map(make_micro, range(4)))
    assert scene.calls == before


def test_what_is_rare_is_computed_as_usual():
    scene = Scene(Repeater())
    scene.run(*(make_micro(0, tokens=n) for n in range(1, 9) for _ in range(USES - 1)))
    assert scene.recorder.recorded == 0


def test_there_are_never_too_many_recordings(caplog, monkeypatch):
    monkeypatch.setattr(cuda_graphs, "MOST", 2)
    scene = Scene(Repeater())
    scene.run(*(make_micro(0, tokens=n) for n in range(4) for _ in range(USES)))
    assert scene.recorder.recorded == 2
    assert caplog.text.count("different shapes") == 1


def test_after_dropping_all_is_freed_and_recorded_again_at_once():
    plain, scene = Scene(), Scene(Repeater())
    micros = [make_micro(seed, **SHAPES[seed % 2]) for seed in range(8)]
    for one in (plain, scene):
        one.run(*micros)
    assert scene.recorder.recorded == 2
    scene.graphs.drop()
    assert scene.recorder.freed == 1
    for one in (plain, scene):
        one.run(*micros)
    assert scene.recorder.recorded == 4 and torch.equal(plain.gradients, scene.gradients)


def test_once_stopped_everything_is_freed_and_nothing_recorded(caplog):
    """Where memory ran out: without recordings there is more of it."""
    plain, scene = Scene(), Scene(Repeater())
    micros = [make_micro(seed) for seed in range(8)]
    plain.run(*micros)
    scene.run(*micros[:4])
    scene.graphs.stop("memory ran out")
    freed = scene.recorder.freed
    scene.run(*micros[4:])
    assert torch.equal(plain.gradients, scene.gradients)
    assert (scene.recorder.recorded, freed) == (1, 1) and "memory ran out" in caplog.text


def test_what_cannot_be_recorded_is_computed_as_usual(caplog):
    plain, scene = Scene(), Scene(Broken(RuntimeError("forbidden\nwhile capturing")))
    micros = [make_micro(seed) for seed in range(6)]
    plain.run(*micros)
    scene.run(*micros)
    assert torch.equal(plain.gradients, scene.gradients)
    assert scene.recorder.recorded == scene.recorder.freed == 1
    assert caplog.text.count("could not be recorded (forbidden);") == len(caplog.records) == 1


def test_a_cancel_while_recording_goes_on_to_whoever_asked():
    scene = Scene(Broken(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        scene.run(*map(make_micro, range(6)))
    assert scene.recorder.recorded == 1 and scene.recorder.replayed == 0


def test_an_error_of_the_work_itself_is_not_hidden():
    scene = Scene(Repeater())
    scene.run(*map(make_micro, range(USES - 1)))
    scene.unet.out[2].forward = lambda x: 1 / 0
    with pytest.raises(ZeroDivisionError):
        scene.compute(make_micro(0))


@pytest.mark.parametrize(
    "micro, reason",
    [
        (make_micro(0, preserves=True), "prior preservation"),
        (make_micro(0)._replace(dropout=DROPOUT), "dropped at random"),
    ],
)
def test_what_needs_python_every_time_is_never_recorded(micro, reason, caplog):
    plain, scene = Scene(), Scene(Repeater())
    for one in (plain, scene):
        one.run(*[micro] * 5)
    assert scene.recorder.recorded == 0 and torch.equal(plain.gradients, scene.gradients)
    assert caplog.text.count(reason) == len(caplog.records) == 1


def test_prior_preservation_of_every_picture_is_never_recorded():
    config = dataclasses.replace(CONFIG, loss=LossConfig(preservation=1.0))
    scene = Scene(Repeater(), config=config)
    micro = make_micro(0)
    also = {"class_context": micro.batch.context, "class_y": micro.batch.y}
    micro = micro._replace(batch=dataclasses.replace(micro.batch, **also))
    scene.run(*[micro] * 5)
    assert scene.recorder.recorded == 0


def test_nothing_is_recorded_on_weights_that_are_lent_as_copies(caplog):
    weights = MovingWeights()
    plain, scene = Scene(weights=MovingWeights()), Scene(Repeater(), weights)
    micros = [make_micro(seed) for seed in range(6)]
    for one in (plain, scene):
        one.run(*micros)
    assert scene.recorder.recorded == 0 and torch.equal(plain.gradients, scene.gradients)
    assert caplog.text.count("not all weights") == len(caplog.records) == 1
    assert weights.borrowed == plain.weights.borrowed + 1  # asked once, at the first layer


def test_weights_that_have_come_back_are_recorded_after_the_next_dropping():
    scene = Scene(Repeater(), MovingWeights())
    scene.run(*map(make_micro, range(4)))
    scene.graphs._weights = PlainWeights()
    scene.run(*map(make_micro, range(4)))
    assert scene.recorder.recorded == 0
    scene.graphs.drop()
    scene.run(make_micro(0))
    assert scene.recorder.recorded == 1


def move_weight(scene):
    layer = scene.unet.middle_block[1].proj_in
    with torch.inference_mode():
        layer.weight = nn.Parameter(layer.weight.clone(), requires_grad=False)


def move_bias(scene):
    bias = scene.unet.out[0].bias
    with torch.inference_mode():
        bias.data = bias.data.clone()


def move_gradient(scene):
    parameter = scene.network.parameters()[-1]
    parameter.grad = parameter.grad.clone()


def move_adapter(scene):
    parameter = scene.network.parameters()[0]
    parameter.data = parameter.data.clone()


@pytest.mark.parametrize("move", [move_weight, move_bias, move_gradient, move_adapter])
def test_nothing_is_replayed_once_anything_has_moved(move):
    plain, scene = Scene(), Scene(Repeater())
    for one in (plain, scene):
        one.run(*map(make_micro, range(USES)))
    move(scene)
    for one in (plain, scene):
        one.run(make_micro(4))
    recorder = scene.recorder
    assert (recorder.replayed, recorder.freed, recorder.recorded) == (0, 1, 2)
    for one in (plain, scene):
        one.run(make_micro(5))
    assert recorder.replayed == 1 and torch.equal(plain.gradients, scene.gradients)


def test_what_moves_again_and_again_is_recorded_no_more(caplog):
    plain, scene = Scene(), Scene(Repeater())
    for seed in range(9):
        for one in (plain, scene):
            move_gradient(one)
            one.run(make_micro(seed))
    assert scene.recorder.recorded == cuda_graphs.MOVES + 1 and scene.recorder.replayed == 0
    assert torch.equal(plain.gradients, scene.gradients)
    assert caplog.text.count("moves again and again") == len(caplog.records) == 1


def test_gradients_that_an_optimiser_takes_away_are_put_back():
    plain, scene = Scene(), Scene(Repeater())
    for step in range(6):
        for one in (plain, scene):
            for parameter in one.network.parameters():
                parameter.grad = None
            one.run(make_micro(step), make_micro(step + 9, preserves=True))
        assert torch.equal(plain.gradients, scene.gradients)
    assert scene.recorder.replayed == 6 - USES and scene.recorder.freed == 0


def test_the_log_says_once_what_is_recorded(caplog):
    caplog.set_level(logging.INFO)
    scene = Scene(Repeater())
    for _ in range(3):
        scene.run(*(make_micro(seed, side=16) for seed in range(4)))
        scene.graphs.drop()
    assert [record.getMessage() for record in caplog.records] == [
        "LoRA Loop: step recorded for 64 x 128 pixels, 2 sample(s), 5 tokens"
    ]


def with_strength(micro, strength):
    items = tuple(item._replace(strength=strength) for item in micro.batch.items)
    return micro._replace(batch=dataclasses.replace(micro.batch, items=items))


def test_images_with_a_strength_of_their_own_are_computed_at_it():
    """Half of it is half of alpha; such steps are not recorded."""
    half = dataclasses.replace(
        CONFIG, lora=dataclasses.replace(CONFIG.lora, alpha=CONFIG.lora.alpha / 2)
    )
    expected, plain, recorded = Scene(config=half), Scene(), Scene(Repeater())
    micro = make_micro(0)
    for scene in (plain, recorded):
        for _ in range(4):
            found = scene.run(with_strength(micro, 0.5))
    for _ in range(4):
        wanted = expected.run(micro)
    torch.testing.assert_close(found[0].terms, wanted[0].terms)
    assert torch.equal(recorded.gradients, plain.gradients)
    torch.testing.assert_close(plain.gradients, expected.gradients, rtol=1e-4, atol=1e-7)
    assert recorded.calls == plain.calls == 4
