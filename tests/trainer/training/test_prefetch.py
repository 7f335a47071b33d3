"""The next step is prepared while one is computed, and a step is waited for once."""

import dataclasses
import itertools

import pytest
import torch
from torch import nn

from pack.tests.trainer.tiny_cache import FINGERPRINT, make_cache, make_item
from pack.tests.trainer.tiny_run import CONFIG, Observer, Run, same
from pack.tests.trainer.tiny_unet import PlainWeights, make_model
from pack.trainer.batches.training_data import TrainingData
from pack.trainer.cache.encoding import KIND
from pack.trainer.files.store import Store
from pack.trainer.layers.attach import Attachment, leaf_plan
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets
from pack.trainer.training import tally
from pack.trainer.training.loop import Loop
from pack.trainer.training.prefetch import Ahead


@pytest.fixture
def cached(tmp_path):
    return make_cache(tmp_path, *(make_item(number) for number in range(6)))


class Chronicle:
    """What a run loads, computes and tells, in order."""

    def __init__(self, cached, config, *, broken_at=None, stop_at=None):
        self.lines, loads = [], []

        def tell(event):
            self.lines.append(f"told {event.step}")

        def load(items):
            loads.append(items)
            if len(loads) == broken_at:
                raise ValueError("the image is gone")
            self.lines.append(f"load {len(loads)}")
            return plain(items)

        def compute(run, *inputs):
            self.lines.append("compute")
            return run._predict(*inputs)

        observer = Observer(tell)
        self.run = Run(cached, config, spoil=compute, observer=observer)
        plain, self.run.data.load = self.run.data.load, load
        if stop_at is not None:
            told = observer.on_step
            observer.on_step = lambda event: (told(event), "enough")[event.step == stop_at]


def test_the_next_step_is_loaded_before_the_last_one_is_told_and_none_after_the_end(cached):
    chronicle = Chronicle(cached, dataclasses.replace(CONFIG, steps=3))
    chronicle.run.go()
    assert chronicle.lines == [
        *("load 1", "compute", "load 2", "told 1"),
        *("compute", "load 3", "told 2", "compute", "told 3"),
    ]


def test_batches_of_a_step_are_prepared_one_ahead_too(cached):
    chronicle = Chronicle(cached, dataclasses.replace(CONFIG, steps=2, accumulation=3))
    chronicle.run.go()
    batches = "load 1, compute, load 2, compute, load 3, compute, load 4, told 1"
    rest = "compute, load 5, compute, load 6, compute, told 2"
    assert ", ".join(chronicle.lines) == f"{batches}, {rest}"


def test_an_error_in_preparing_comes_after_the_books_of_the_step_before(cached):
    chronicle = Chronicle(cached, CONFIG, broken_at=3)
    with pytest.raises(ValueError, match="the image is gone"):
        chronicle.run.go()
    assert chronicle.lines[-1] == "told 2"
    state = chronicle.run.loop.state()
    rest, whole = Run(cached, CONFIG, start=state), Run(cached, CONFIG)
    assert state.step == 2 and rest.go() == whole.go() and same(rest.factors, whole.factors)


def test_an_error_in_preparing_what_is_not_wanted_any_more_is_none(cached):
    chronicle = Chronicle(cached, CONFIG, broken_at=3, stop_at=2)
    outcome = chronicle.run.go()
    assert (outcome.steps, outcome.stopped) == (2, "enough")


def test_a_picture_that_vanishes_before_it_was_read_is_named(cached):
    run = Run(cached, dataclasses.replace(CONFIG, batch_size=1))
    _, batches, _ = next(itertools.islice(run.data.steps(run.config), 2, None))
    item = cached.items[batches[0][0].item_index]
    Store(cached.store_root).path(KIND, item.latent_key).unlink()
    with pytest.raises(ValueError, match=f"cached latents of {item.name} vanished"):
        run.go()
    assert len(run.observer.events) == 2


def test_ahead_keeps_the_order_and_the_end():
    made = []

    def numbers():
        for number in range(3):
            made.append(number)
            yield number

    ahead = Ahead(numbers())
    ahead.prepare()
    ahead.prepare()
    assert made == [0]
    assert list(ahead) == [0, 1, 2]
    ahead.prepare()
    with pytest.raises(StopIteration):
        next(ahead)


@pytest.mark.parametrize("changes", [{}, {"accumulation": 2}, {"batch_size": 3}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_step_is_waited_for_once(cached, monkeypatch, changes, dtype):
    """On the meta device there is nothing to read: whatever else asked for a number would fail."""
    config, meta, reads = dataclasses.replace(CONFIG, **changes), torch.device("meta"), []

    def read(tensors):
        assert all(tensor.is_meta for tensor in tensors)
        reads.append(len(tensors))
        return [[0.5] * len(tensor) for tensor in tensors]

    monkeypatch.setattr(tally, "read", read)
    block = type("SpatialTransformer", (nn.Sequential,), {})(nn.Conv2d(4, 4, 1))
    unet = nn.Sequential(block).requires_grad_(False).to(meta)
    network = Network(find_targets(unet, config.lora), device=meta)
    model = make_model(unet)
    model = dataclasses.replace(
        model,
        predict=lambda x, *_: unet(x),
        schedule=model.schedule.to(meta),
        device=meta,
        dtype=dtype,
    )
    data, observer = TrainingData(cached, FINGERPRINT), Observer()
    with Attachment(leaf_plan(unet, network, PlainWeights())):
        Loop(model, network, data, config, micro_batch=1).run(observer)
    assert len(reads) == len(observer.events) == config.steps
    assert all(event.applied and event.grad_norm == 0.5 for event in observer.events)
