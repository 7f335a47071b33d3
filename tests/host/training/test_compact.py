"""Training with compact layers: the numbers of training layer by layer, through previews and resumes."""

import dataclasses
import shutil

import pytest
import torch

from pack.nodes.host.previews.previewer import PreviewConfig
from pack.nodes.host.training import live_training
from pack.nodes.host.training import train as training
from pack.tests.host import scene
from pack.trainer.config.loss import LossConfig
from pack.trainer.layers.recompute import Again

pytestmark = [pytest.mark.main_host, pytest.mark.slow]


def train(tiny, cached, recipe, **extra):
    with torch.inference_mode():
        result, _ = training.train_lora(scene.request(tiny, cached, recipe, **extra))
    return result


@pytest.mark.parametrize("settings", [{}, {"checkpointing": "full"}])
def test_the_numbers_are_those_of_training_layer_by_layer(tiny, cached, settings):
    recipe = scene.config(steps=4, seed=31, learning_rate=1e-3, **settings)
    plain = train(tiny, cached, recipe)
    shutil.rmtree(plain.path.parent)
    previews = PreviewConfig(
        ("thing",), every=2, width=64, height=64, steps=2, strengths=(0.0, 1.0)
    )
    compact = train(
        tiny, cached, dataclasses.replace(recipe, compact=True),
        clip=tiny.clip, vae=tiny.vae, previews=previews,
    )  # fmt: skip
    assert compact.losses == pytest.approx(plain.losses, rel=1e-5)
    for key, tensor in plain.lora.items():
        torch.testing.assert_close(compact.lora[key], tensor, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("compact", [False, True])
def test_a_plan_that_recomputes_by_block_gives_the_same(tiny, cached, monkeypatch, compact):
    """Every block at a level of its own, with two samples in two pieces."""
    recipe = scene.config(steps=3, seed=34, learning_rate=1e-3)
    plain = train(tiny, cached, recipe)
    shutil.rmtree(plain.path.parent)
    plan_of = live_training.memory_plan

    def mixed(*inputs):
        plan = plan_of(*inputs)
        levels = {block: Again(n % len(Again)) for n, block in enumerate(plan.levels)}
        return dataclasses.replace(plan, levels=levels, micro_batch=1)

    monkeypatch.setattr(live_training, "memory_plan", mixed)
    ours = train(tiny, cached, dataclasses.replace(recipe, compact=compact))
    assert ours.losses == pytest.approx(plain.losses, rel=1e-5)
    for key, tensor in plain.lora.items():
        torch.testing.assert_close(ours.lora[key], tensor, rtol=1e-3, atol=2e-5)


def test_the_models_own_answer_is_without_the_adapters(tiny, cached):
    loss = LossConfig(preservation=0.5, preservation_class="person")
    recipe = scene.config(steps=3, seed=32, learning_rate=1e-3, loss=loss)
    plain = train(tiny, cached, recipe, clip=tiny.clip)
    shutil.rmtree(plain.path.parent)
    compact = train(tiny, cached, dataclasses.replace(recipe, compact=True), clip=tiny.clip)
    assert compact.losses == pytest.approx(plain.losses, rel=1e-5)


def test_pieces_are_the_whole(tiny, cached):
    recipe = scene.config(steps=5, seed=33, compact=True)
    whole = train(tiny, cached, recipe)
    shutil.rmtree(whole.path.parent)
    train(tiny, cached, dataclasses.replace(recipe, steps=2))
    pieces = train(tiny, cached, recipe)
    assert pieces.losses == whole.losses
    assert all(torch.equal(pieces.lora[key], whole.lora[key]) for key in whole.lora)


def test_a_run_goes_on_where_the_plan_has_chosen_compact_layers_meanwhile(
    tiny, cached, monkeypatch
):
    """Other programs have taken memory between both parts of a run."""
    recipe = scene.config(steps=5, seed=35, learning_rate=1e-3)
    plain = train(tiny, cached, recipe)
    shutil.rmtree(plain.path.parent)
    train(tiny, cached, dataclasses.replace(recipe, steps=2))
    whole, plans, plan_of = [], [], live_training.memory_plan

    def scarce(*inputs):
        *given, _ = inputs
        whole.append(plan_of(*given, None).reserve)
        plans.append(plan_of(*given, whole[0] - 1))
        return plans[-1]

    monkeypatch.setattr(live_training, "memory_plan", scarce)
    ours = train(tiny, cached, recipe)
    assert [plan.compact for plan in plans] == [True] and plans[0].fits
    assert ours.losses == pytest.approx(plain.losses, rel=1e-5)
    for key, tensor in plain.lora.items():
        torch.testing.assert_close(ours.lora[key], tensor, rtol=1e-3, atol=2e-5)
