"""Memory that runs out while training: in a step, under the smallest plan, in a preview."""

import dataclasses
import json
import logging

import pytest
import torch

from pack.nodes.host import folders
from pack.nodes.host.model import memory, unet
from pack.nodes.host.previews.previewer import PreviewConfig, Previewer
from pack.nodes.host.training import train as training
from pack.nodes.host.training.attachment import Mounting
from pack.tests.host import scene
from pack.trainer.memory.plan import GIB
from pack.trainer.runs.lost_memory import FILE

NO_MEMORY = torch.OutOfMemoryError("CUDA out of memory")
LATE = "CUDA error: out of memory"


def train(tiny, cached, recipe, *joins, **extra):
    with torch.inference_mode():
        return training.train_lora(scene.request(tiny, cached, recipe, **extra), *joins)[0]


@pytest.fixture
def card(monkeypatch):
    """A card that seems to have room for all; ``short`` says of the samples of a forward whether it has."""

    class Card:
        available, forwards, plans = 100 * GIB, [], []
        short = staticmethod(lambda samples: False)

    own, prepare = unet.predict, Mounting._prepare

    def predict(model, x, *rest):
        Card.forwards.append(len(x))
        if Card.short(len(x)):
            raise NO_MEMORY
        return own(model, x, *rest)

    def told(self, plan):
        Card.plans.append(plan)
        prepare(self, plan)

    Card.forwards, Card.plans = [], []
    monkeypatch.setattr(memory, "available_beside", lambda patchers, spared: Card.available)
    monkeypatch.setattr(unet, "predict", predict)
    monkeypatch.setattr(Mounting, "_prepare", told)
    return Card


@pytest.mark.main_host
def test_the_step_is_done_again_one_rung_down(tiny, cached, card, elsewhere, caplog):
    """The numbers are those of a run that was planned so, and the next Queue is, be as little free by then."""
    before = scene.snapshot(tiny.model)
    card.short = lambda samples: samples > 1
    with caplog.at_level(logging.WARNING):
        train(tiny, cached, scene.config(seed=71, steps=1, batch_size=2))
        train(tiny, cached, scene.config(seed=71, steps=2, batch_size=2))
        card.available = card.plans[1].reserve
        found = train(tiny, cached, scene.config(seed=71, steps=3, batch_size=2))
    assert scene.snapshot(tiny.model) == before
    first, lower, *again = card.plans
    assert caplog.text.count("memory ran out; this step is done again") == 1
    assert (first.micro_batch, any(first.levels.values())) == (2, False)
    assert (lower.micro_batch, all(lower.levels.values())) == (1, True)
    assert again == [dataclasses.replace(lower, fits=True)] * 2
    elsewhere()
    planned = train(tiny, cached, scene.config(seed=71, steps=3, batch_size=2))
    assert card.plans[-1] == again[0]
    assert found.losses == planned.losses
    assert all(torch.equal(found.lora[key], planned.lora[key]) for key in found.lora)


@pytest.mark.main_host
def test_only_the_smallest_plan_ends_the_run_and_keeps_its_state(tiny, cached, card, caplog):
    recipe = scene.config(seed=74, checkpointing="full", steps=2, batch_size=1)
    card.short = lambda samples: len(card.forwards) == 2
    with pytest.raises(torch.OutOfMemoryError):
        train(tiny, cached, recipe)
    assert "out of memory while training" in caplog.text and len(card.plans) == 1
    assert not list(folders.runs_root().glob(f"*/{FILE}"))
    assert len(train(tiny, cached, recipe).losses) == 2
    assert len(card.forwards) == 3  # one step was kept


@pytest.mark.main_host
def test_memory_that_runs_out_elsewhere_is_kept_in_mind_too(tiny, cached, card):
    """In the optimiser's step, say, whose state may be half done: the run ends, but not twice."""

    def fail(event):
        raise NO_MEMORY

    with pytest.raises(torch.OutOfMemoryError):
        train(tiny, cached, scene.config(seed=75, steps=1), scene.told(fail))
    (note,) = folders.runs_root().glob(f"*/{FILE}")
    (plan,) = card.plans
    assert json.loads(note.read_text())["enough"] < plan.reserve


@pytest.mark.main_host
def test_other_errors_end_the_run_at_once(tiny, cached, card, monkeypatch):
    monkeypatch.setattr(unet, "predict", lambda *_: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="size"):
        train(tiny, cached, scene.config(seed=76, batch_size=2))
    assert len(card.plans) == 1


@pytest.mark.main_host
def test_a_preview_without_memory_is_left_out(tiny, cached, monkeypatch, caplog):
    """Training goes on, and samples again when it is next due."""
    own, calls = Previewer.sample, []

    def sample(self, *arguments):
        calls.append(torch.is_inference_mode_enabled())
        if len(calls) == 1:
            raise NO_MEMORY
        return own(self, *arguments)

    monkeypatch.setattr(Previewer, "sample", sample)
    previews = PreviewConfig(("thing",), every=1, width=32, height=32, steps=1)
    more = {"clip": tiny.clip, "vae": tiny.vae, "previews": previews}
    with torch.inference_mode():
        request = scene.request(tiny, cached, scene.config(seed=77, steps=2), **more)
        found, book = training.train_lora(request)
    assert "no previews after step 1: memory ran out" in caplog.text
    assert len(found.losses) == 2 and calls == [True, True]
    assert not book.has(1) and book.has(2)


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (NO_MEMORY, True),
        (getattr(torch, "AcceleratorError", RuntimeError)(LATE), True),
        (RuntimeError(f"{LATE}\nCUDA kernel errors might be reported later"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"), False),
        (ValueError("out of memory"), False),
        (KeyboardInterrupt("out of memory"), False),
    ],
)
def test_which_errors_are_meant(error, is_one):
    assert memory.is_out_of_memory(error) == is_one
