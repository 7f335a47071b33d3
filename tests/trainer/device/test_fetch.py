"""What comes back from the card: the numbers that lie there, in few copies however many tensors they are."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pack.tests.trainer.tiny_cache import FINGERPRINT, make_cache, make_item
from pack.tests.trainer.tiny_unet import make_model, make_unet
from pack.trainer.batches.training_data import TrainingData
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.device import transfer
from pack.trainer.device.transfer import fetch
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets
from pack.trainer.optim import ema, flat
from pack.trainer.optim.optimiser import Optimiser, ParameterGroup
from pack.trainer.training.loop import Loop

MOST = 2
"""Copies of parameters, or of moments, or of averages: each is less than one piece here."""


class Refused(AssertionError):
    pass


class Card(TorchDispatchMode):
    """The meta device stands for a card: what comes from there is counted, and more than ``most`` refused."""

    def __init__(self, most):
        super().__init__()
        self.most, self.copies, self.bytes = most, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        source = {"copy_": args[1:2], "_to_copy": args[:1]}.get(name, ())
        target = args[0] if name == "copy_" else None
        to_host = (kwargs or {}).get("device") if target is None else target.device
        if source and source[0].is_meta and to_host == torch.device("cpu"):
            self.copies += 1
            self.bytes += source[0].nbytes
            if self.copies > self.most:
                raise Refused(f"{self.copies} copies from the card")
            return torch.empty(source[0].shape, dtype=source[0].dtype) if target is None else target
        return func(*args, **(kwargs or {}))


def on_the_card(kind, many=50):
    """Parameters of a run on the card, with gradients that one step has applied."""
    shapes = [(8, 16), (16, 8), (5,)] * many
    parameters = [nn.Parameter(torch.empty(shape, device="meta")) for shape in shapes]
    average = 0.0 if "Free" in kind else 0.9
    config = OptimiserConfig(type=kind, learning_rate=1.0, ema_decay=average)
    optimiser = Optimiser([ParameterGroup(parameters)], config)
    apply_gradients(optimiser, parameters)
    return optimiser


def apply_gradients(optimiser, parameters):
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter)
    optimiser.clip()
    optimiser._seen.step()


@pytest.mark.parametrize("kind", ["AdamW", "SGDNesterov", "Lion", "AdamWScheduleFree"])
def test_a_state_comes_in_few_copies(kind):
    """Seen as one or one by one: no more than one for each kind of number, whatever number of tensors."""
    optimiser = on_the_card(kind)
    with Card(MOST) as card:
        state = optimiser.state()
    assert 0 < card.copies <= MOST and card.bytes > 50 * 4 * 128
    tensors = [leaf for leaf in tree_leaves(state) if isinstance(leaf, torch.Tensor)]
    assert len(tensors) > 150 and all(tensor.device.type == "cpu" for tensor in tensors)


@pytest.mark.parametrize("kind", ["AdamW", "AdamWScheduleFree"])
def test_one_copy_for_each_tensor_is_refused(kind, monkeypatch):
    """The planted fault: everything is taken to the CPU by itself."""
    optimiser = on_the_card(kind)
    for module in (ema, flat):
        monkeypatch.setattr(
            module, "fetch", lambda tensors, pins: [tensor.cpu() for tensor in tensors]
        )
    with pytest.raises(Refused), Card(MOST):
        optimiser.state()


@pytest.fixture(scope="module")
def network():
    targets = find_targets(make_unet(), LoraConfig(rank=4))
    return Network(targets, device=torch.device("meta"))


def test_the_adapters_come_in_one_copy(network):
    """Each with a storage of its own, which the file of a LoRA asks for."""
    Optimiser(network.groups(LoraConfig()), OptimiserConfig())
    with Card(1) as card:
        tensors = network.state_dict()
    assert card.copies == 1 and card.bytes == 4 * sum(p.numel() for p in network.parameters())
    stores = {tensor.untyped_storage().data_ptr() for tensor in tensors.values()}
    assert len(stores) == len(tensors)


@pytest.mark.parametrize("pins", [False, True])
def test_states_and_adapters_are_pinned_only_where_the_model_may(tmp_path, monkeypatch, pins):
    """What is asked for is written down, with meta as the card, as there is none."""
    model = dataclasses.replace(make_model(None), device=torch.device("meta"), pins=pins)
    config = TrainConfig(optimiser=OptimiserConfig(ema_decay=0.9))
    network = Network(find_targets(make_unet(), config.lora), device=model.device)
    data = TrainingData(make_cache(tmp_path, make_item(0)), FINGERPRINT)
    loop = Loop(model, network, data, config)
    apply_gradients(loop._optimiser, network.parameters())
    asked, empty = [], torch.empty
    monkeypatch.setattr(torch.Tensor, "is_cuda", property(lambda t: t.is_meta))

    def write_down(*args, pin_memory=False, **kwargs):
        asked.append(pin_memory)
        return empty(*args, **kwargs)

    monkeypatch.setattr(torch, "empty", write_down)
    with Card(3) as card:
        assert loop.state() is not None
    assert card.copies == 3 and sum(asked) == (3 if pins else 0)


def values():
    """Of several dtypes, sizes and layouts; some share a storage."""
    rng = torch.Generator().manual_seed(0)
    whole = torch.randn(1000, generator=rng)
    grid = torch.randn(2, 30, generator=rng)
    return [
        whole[10:30],
        whole[500:].view(50, 10),
        torch.arange(77, dtype=torch.uint8),
        grid[:, 5:20],
        torch.tensor(3.0, dtype=torch.float64),
        torch.randn(33, generator=rng).bfloat16(),
        torch.empty(0),
        whole[10:30],
        nn.Parameter(grid.t()),
    ]


@pytest.mark.parametrize("piece", [7, 100, 4096, transfer.PIECE])
def test_the_numbers_are_those_of_the_device(piece, monkeypatch):
    """Cut into pieces and put together, layout and shared storages included."""
    monkeypatch.setattr(transfer, "PIECE", piece)
    before = values()
    after = transfer._copied(before, pins=False)
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one, other) and one.dtype == other.dtype
        assert one.stride() == other.stride() and not other.requires_grad
        assert one.untyped_storage().data_ptr() != other.untyped_storage().data_ptr() or not len(
            one
        )
    assert len({t.untyped_storage()._cdata for t in before}) == 6
    assert len({t.untyped_storage()._cdata for t in after}) == 6


def test_what_is_on_the_cpu_stays():
    before = values()
    assert all(a is b for a, b in zip(before, fetch(before), strict=True))


def test_large_ones_come_in_pieces():
    large = [torch.empty(transfer.PIECE, dtype=torch.uint8, device="meta") for _ in range(2)]
    small = [torch.empty(100, device="meta") for _ in range(10)]
    with Card(3) as card:
        found = fetch([*large, *small])
    assert card.copies == 3 and [len(t) for t in found] == [transfer.PIECE] * 2 + [100] * 10
