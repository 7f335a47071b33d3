"""The plan before the first step: from what ComfyUI's manager reports, and what is said about it."""

import logging

import pytest

from pack.nodes.host.model import memory
from pack.nodes.host.model.trained_model import TrainedModel
from pack.nodes.host.training import memory_plan
from pack.tests.host import scene
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.speed import SpeedConfig
from pack.trainer.layers.recompute import Again
from pack.trainer.memory.activations import MIB
from pack.trainer.memory.plan import GIB
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets

LAYER_BY_LAYER = SpeedConfig(auto_compact=False)


def plan(tiny, cached, monkeypatch, available, **settings):
    config, model = scene.config(**settings), TrainedModel(tiny.model)
    monkeypatch.setattr(memory, "available_beside", lambda patchers, spared: available)
    network = Network(find_targets(model.unet, config.lora))
    need = memory_plan.find_need(model, cached, config, network)
    available = memory_plan.find_available(model, config)
    return memory_plan.memory_plan(model, config, network, need, available)


@pytest.mark.parametrize("available", [None, 100 * GIB])
def test_with_enough_memory_nothing_is_given_up(tiny, cached, monkeypatch, caplog, available):
    found = plan(tiny, cached, monkeypatch, available, batch_size=2)
    assert found.fits and found.micro_batch == 2 and not any(found.levels.values())
    assert len(found.levels) > 10 and caplog.text == ""


def test_with_less_blocks_are_computed_again_one_by_one(tiny, cached, monkeypatch):
    settings = {"batch_size": 1, "speed": LAYER_BY_LAYER}
    whole = plan(tiny, cached, monkeypatch, None, **settings)
    found = plan(tiny, cached, monkeypatch, whole.reserve - 1, **settings)
    assert found.fits and sum(level > Again.NOTHING for level in found.levels.values()) == 1
    assert "all but attention in 1 of" in found.describe()


def test_with_less_compact_layers_come_first(tiny, cached, monkeypatch):
    whole = plan(tiny, cached, monkeypatch, None)
    found = plan(tiny, cached, monkeypatch, whole.reserve - 1)
    assert found.compact and found.fits and not any(found.levels.values())
    assert found.micro_batch == whole.micro_batch and not whole.compact
    assert found.describe().startswith("memory plan: compact layers; no block recomputed")


def test_attention_without_a_kernel_of_its_own_is_planned_for(tiny, cached, monkeypatch, caplog):
    usual = plan(tiny, cached, monkeypatch, None)
    monkeypatch.setattr(memory_plan, "is_fused", lambda device, dtype: False)
    with caplog.at_level(logging.WARNING):
        assert plan(tiny, cached, monkeypatch, None).reserve > usual.reserve
    assert "no flash or memory-efficient attention" in caplog.text


@pytest.mark.parametrize(
    ("dynamic", "missing", "told"),
    [(False, 10, "10 MiB more than is free"), (True, 10, ""), (True, 300, ""),
     (True, 320, "320 MiB more than is free")],
)  # fmt: skip
def test_how_much_is_missing_is_said_and_little_is_nothing_under_dynamic_vram(
    tiny, cached, monkeypatch, caplog, dynamic, missing, told
):
    least = plan(tiny, cached, monkeypatch, -GIB).reserve
    caplog.clear()
    monkeypatch.setattr(memory, "is_dynamic", lambda patcher: dynamic)
    with caplog.at_level(logging.WARNING):
        found = plan(tiny, cached, monkeypatch, least - missing * MIB)
    assert not found.fits
    assert told in caplog.text and bool(caplog.text) == bool(told)


def test_what_does_not_fit_is_said_with_what_would(tiny, cached, monkeypatch, caplog):
    with caplog.at_level(logging.WARNING):
        found = plan(tiny, cached, monkeypatch, 0, rank=64)
    assert not found.fits
    assert all(level is Again.ALL for level in found.levels.values())
    assert "needs 0." in caplog.text and "MiB more than is free" in caplog.text
    assert "stream_weights" in caplog.text
    caplog.clear()
    monkeypatch.setattr(memory, "stays", lambda patcher: True)  # --highvram
    with caplog.at_level(logging.WARNING):
        plan(tiny, cached, monkeypatch, 0, rank=64)
    assert "than is free" in caplog.text and "stream_weights" not in caplog.text


def test_a_whole_second_matrix_counts_no_rank(tiny):
    def ranks(**settings):
        targets = find_targets(
            TrainedModel(tiny.model).unet, LoraConfig(algorithm="lokr", **settings)
        )
        return {memory_plan.inner_rank(target) for target in targets}

    assert ranks(rank=8) == {8}
    assert ranks(rank=10000, conv_rank=10000) == ranks(rank=512, full_matrix=True) == {0}
