"""What adapters go without, and that nothing but (seed, epoch, sample, layer) decides it."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from pack.trainer.batches.plan import BatchItem
from pack.trainer.config.lora import LoraConfig
from pack.trainer.network.adapters import Lora
from pack.trainer.network.dropout import Dropout
from pack.trainer.network.unet_targets import Target

KEY = "lora_unet_a"


def items(*numbers):
    return tuple(BatchItem(item_index=number, repeat=0, flipped=False) for number in numbers)


def dropout(numbers=(0, 1), seed=1, epoch=0, **chances):
    return Dropout(LoraConfig(**chances), seed, epoch, items(*numbers))


def kept(hidden):
    return hidden != 0


@pytest.mark.parametrize("shape", [(2, 50, 40), (2, 40), (2, 40, 8, 8)])
def test_neurons_are_dropped_one_by_one_and_the_rest_is_scaled(shape):
    hidden = dropout(dropout=0.25).hidden(KEY, torch.ones(shape))
    assert hidden.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    share = float(kept(hidden).float().mean())
    assert share == pytest.approx(0.75, abs=0.15 if len(shape) == 2 else 0.03)
    assert not torch.equal(hidden[0], hidden[1])


@pytest.mark.parametrize("shape", [(8, 30, 64), (8, 64), (8, 64, 5, 5)])
def test_ranks_are_dropped_as_a_whole(shape):
    hidden = dropout(range(8), rank_dropout=0.25).hidden(KEY, torch.ones(shape))
    axis = 1 if len(shape) == 4 else -1
    ranks = hidden.movedim(axis, 1).flatten(2) if len(shape) > 2 else hidden[:, :, None]
    assert torch.equal(ranks, ranks[:, :, :1].expand_as(ranks))
    assert ranks.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert float(kept(ranks).float().mean()) == pytest.approx(0.75, abs=0.1)
    assert len({tuple(row) for row in kept(ranks[:, :, 0]).tolist()}) == 8


def test_whole_adapters_are_dropped_for_a_sample():
    output = dropout(range(400), module_dropout=0.25).output(KEY, torch.ones(400, 3, 2))
    rows = output.flatten(1)
    assert torch.equal(rows, rows[:, :1].expand_as(rows))
    assert float(rows.mean()) == pytest.approx(0.75, abs=0.06)  # not scaled up, as in kohya


CHANCES = {"dropout": 0.5, "rank_dropout": 0.5, "module_dropout": 0.5}


def through(drop, hidden):
    return drop.output(KEY, drop.hidden(KEY, hidden))


def test_a_sample_is_dropped_alike_in_any_batch():
    hidden = torch.ones(3, 64, 16)
    together = through(dropout((3, 4, 5), **CHANCES), hidden)
    apart = [through(dropout((number,), **CHANCES), hidden[:1]) for number in (3, 4, 5)]
    assert torch.equal(together, torch.cat(apart))


@pytest.mark.parametrize("chance", CHANCES)
@pytest.mark.parametrize("change", [{"seed": 2}, {"epoch": 1}, {"numbers": range(64, 128)}])
def test_seed_epoch_and_sample_decide(chance, change):
    hidden = torch.ones(64, 32)
    one = through(dropout(**{"numbers": range(64), chance: 0.5}), hidden)
    other = through(dropout(**{"numbers": range(64), chance: 0.5, **change}), hidden)
    assert not torch.equal(one, other)


def test_layers_and_kinds_of_dropout_are_independent():
    drop, hidden = dropout(range(64), **CHANCES), torch.ones(64, 32)
    assert not torch.equal(drop.hidden("a", hidden), drop.hidden("b", hidden))
    neurons = dropout(range(64), dropout=0.5).hidden(KEY, torch.ones(64, 1))
    ranks = dropout(range(64), rank_dropout=0.5).hidden(KEY, torch.ones(64, 1))
    assert not torch.equal(kept(neurons), kept(ranks))


@pytest.mark.parametrize("layer", [nn.Linear(6, 5), nn.Conv2d(6, 5, 3, padding=1)], ids=str)
def test_a_recomputed_layer_drops_the_same(layer):
    torch.manual_seed(0)
    adapter = Lora(Target("a", KEY, layer, 16, 8.0), torch.device("cpu"))
    nn.init.normal_(adapter.down)
    nn.init.normal_(adapter.up)
    x = torch.randn(2, 7, 6) if isinstance(layer, nn.Linear) else torch.randn(2, 6, 4, 4)
    adapter.dropout = dropout(dropout=0.3, rank_dropout=0.3, module_dropout=0.3)
    plain = torch.autograd.grad(adapter(x).square().sum(), [adapter.down, adapter.up])
    again = checkpoint(adapter, x, use_reentrant=False)
    recomputed = torch.autograd.grad(again.square().sum(), [adapter.down, adapter.up])
    for one, other in zip(plain, recomputed, strict=True):
        assert one.abs().sum() > 0 and torch.equal(one, other)


@pytest.mark.parametrize("shape", [(3, 7, 16), (3, 16), (3, 16, 5, 5)])
def test_the_noisier_a_sample_is_the_fewer_ranks_it_trains(shape):
    times = torch.tensor([0, 500, 999])
    drop = Dropout(LoraConfig(rank=16, least_rank=4), 1, 0, items(0, 1, 2), times)
    hidden = drop.hidden(KEY, torch.ones(shape))
    axis = 1 if len(shape) == 4 else -1
    ranks = hidden.movedim(axis, 1).flatten(2).amax(2) if len(shape) > 2 else hidden
    assert ranks.sum(1).tolist() == [16, 10, 4]
    assert bool((ranks.diff(dim=1) <= 0).all()) and bool((hidden <= 1).all())


@pytest.mark.parametrize(("rank", "least"), [(8, 1), (32, 16), (64, 4)])
def test_the_ranks_of_a_timestep_are_those_of_lycoris(rank, least):
    lycoris = pytest.importorskip("lycoris.modules.tlora")
    times = torch.arange(1000)
    drop = Dropout(LoraConfig(rank=rank, least_rank=least), 1, 0, (), times)
    ours = drop.hidden(KEY, torch.ones(1000, rank)).sum(1).tolist()
    theirs = [float(lycoris.compute_timestep_mask(t, 1000, rank, least).sum()) for t in range(1000)]
    apart = [number for number in range(1000) if ours[number] != theirs[number]]
    # theirs loses a rank to rounding where the share is a whole number
    assert all((1000 - t) * (rank - least) % 1000 == 0 for t in apart)


def test_text_encoders_know_no_timestep():
    hidden = torch.ones(1, 5, 16)
    drop = Dropout(LoraConfig(rank=16, least_rank=4), 1, 0, items(0))
    assert torch.equal(drop.hidden(KEY, hidden), hidden)
