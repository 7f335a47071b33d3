import random
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from pack.tests.trainer.frozen.device_queues import Queues
from pack.tests.trainer.tiny_unet import PlainWeights, make_inputs, make_unet
from pack.trainer.config.lora import LoraConfig
from pack.trainer.device.copy_stream import InOrder
from pack.trainer.frozen.streaming import SLOTS, Streamed, stream_units
from pack.trainer.layers.attach import Attachment, checkpoint_plan, leaf_plan
from pack.trainer.layers.compact_plan import compact_plan
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets

CPU = torch.device("cpu")
FLOAT = torch.float32


class Poisoning(InOrder):
    """Buffers hold NaN where nothing has been copied; keeps a log of what is asked for."""

    def __init__(self, log):
        self.log = log

    def now(self):
        self.log.append("read")

    def copy(self, pairs, after):
        self.log.append("copy")
        pairs = list(pairs)
        pairs[0][0]._base.fill_(255)  # bytes that are NaN in every float
        super().copy(pairs, after)
        return self.log.count("copy")

    def wait(self, moment):
        self.log.append(("wait", moment))


class Owner(PlainWeights):
    """Remembers what was borrowed from it; ``patched`` layers cannot be streamed."""

    def __init__(self, patched=()):
        self.patched, self.borrowed = set(patched), []

    def borrow(self, module, dtype, device):
        self.borrowed.append(module)
        return super().borrow(module, dtype, device)

    def stored(self, module):
        return None if module in self.patched else super().stored(module)


@pytest.fixture
def blocks():
    """Six blocks of two layers, each of a size of its own."""
    torch.manual_seed(0)
    return [[nn.Linear(4, 3 + n), nn.LayerNorm(5)] for n in range(6)]


def streamed(units, owner=None, log=None, **options):
    copies = Poisoning([] if log is None else log)
    return Streamed(owner or Owner(), units, CPU, copies=lambda _: copies, **options)


def walk(weights, layers, check=True):
    for layer in layers:
        with weights.borrow(layer, FLOAT, CPU) as (weight, bias):
            assert not check or (
                torch.equal(weight, layer.weight) and torch.equal(bias, layer.bias)
            )


def there_and_back(blocks):
    """A step without recomputing: forward, and backward through the same layers."""
    layers = [layer for block in blocks for layer in block]
    return layers + layers[::-1]


SCHEDULES = {
    "computing runs ahead": lambda rng: lambda: 0,
    "copies run ahead": lambda rng: lambda: 1,
    "mixed": lambda rng: lambda: rng.randrange(2),
    "mostly copies": lambda rng: lambda: rng.random() < 0.9,
}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", ["regular", "irregular"])
def test_whatever_is_faster_each_layer_reads_its_own_weights(blocks, schedule, steps):
    rng, queues = random.Random(1), Queues()
    weights = Streamed(Owner(), blocks, CPU, copies=lambda _: queues)
    layers = there_and_back(blocks)
    order = layers * 4 if steps == "regular" else [rng.choice(layers) for _ in range(200)]
    with weights.hold(layers):
        for layer in order:
            with weights.borrow(layer, FLOAT, CPU) as (weight, bias):
                queues.read(weight, layer.weight, "weight")
                queues.read(bias, layer.bias, "bias")
        queues.run(SCHEDULES[schedule](rng))
    assert queues.wrong == [] and queues.done == 2 * len(order)


def test_a_block_comes_once_in_each_direction(blocks):
    log = []
    weights = streamed(blocks, log=log)
    step = there_and_back(blocks)
    with weights.hold(step):
        walk(weights, step * 2)
        log.clear()
        walk(weights, step)
    copies = log.count("copy")
    assert copies == 2 * len(blocks) - 2 * SLOTS  # the ends are still there when it turns
    assert sum(isinstance(entry, tuple) for entry in log) == copies  # each is waited for once


@pytest.fixture
def unet():
    return make_unet()


@pytest.fixture
def network(unet):
    network = Network(find_targets(unet, LoraConfig(rank=3, conv_rank=2)), seed=3)
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=rng))
    return network


def gradients(unet, network, weights, plan, checkpointing=False):
    steps = plan(unet, network, weights)
    steps += checkpoint_plan(unet, layers=steps) if checkpointing else []
    with Attachment(steps):
        out = unet(*make_inputs())
        out.square().mean().backward()
    found = [parameter.grad for parameter in network.parameters()]
    for parameter in network.parameters():
        parameter.grad = None
    return [out, *found]


@pytest.mark.parametrize("plan", [leaf_plan, compact_plan])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_whole_unet_gives_the_same_bits(unet, network, plan, checkpointing):
    expected = gradients(unet, network, PlainWeights(), plan, checkpointing)
    units, owner, log = stream_units(unet), Owner(), []
    weights = streamed(units, owner, log)
    with weights.hold(unet.modules()):
        for _ in range(3):
            log.clear()
            found = gradients(unet, network, weights, plan, checkpointing)
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert owner.borrowed == []
    assert log.count("copy") <= 2 * len(units)  # recomputing and backward share one


def test_units_are_blocks_with_what_lies_behind_them(unet):
    units = stream_units(unet)
    owners = [m for m in unet.modules() if next(m.parameters(recurse=False), None) is not None]
    assert [module for unit in units for module in unit] == owners
    names = {module: name for name, module in unet.named_modules()}
    resnet = next(u for u in units if names[u[0]].startswith("input_blocks.3.0."))
    assert {names[m] for m in resnet} >= {"input_blocks.3.1.norm", "input_blocks.3.1.proj_in"}
    block = next(u for u in units if "transformer_blocks" in names[u[0]])
    assert names[block[-1]] == "input_blocks.3.1.proj_out" and len(block) == 14
    assert len(units) == 1 + 6 + 2


def test_what_only_the_owner_can_put_together_is_borrowed_from_it(blocks):
    patched = blocks[2][0]
    owner = Owner([patched])
    weights = streamed(blocks, owner)
    step = there_and_back(blocks)
    with weights.hold(step):
        walk(weights, step)
    assert owner.borrowed == [patched, patched]


def test_layers_of_no_block_are_borrowed_and_held_as_before(blocks):
    class Holding(Owner):
        @contextmanager
        def hold(self, modules):
            self.held = list(modules)
            yield len(self.held)

    owner, other = Holding(), nn.Linear(2, 2)
    weights = streamed(blocks, owner)
    with weights.hold([*blocks[0], other]) as count:
        assert owner.held == [other] and count == 1
        walk(weights, [other])
        assert owner.borrowed == [other]


def test_a_weight_that_the_owner_replaces_meanwhile_is_seen(blocks):
    owner = Owner()
    weights = streamed(blocks, owner)
    layers = there_and_back(blocks)
    with weights.hold(layers):
        walk(weights, layers)
        blocks[4][0].weight = nn.Parameter(torch.full((7, 4), 7.0))
        owner.patched.add(blocks[5][0])
        walk(weights, layers * 2)
        assert set(owner.borrowed) == {blocks[4][0], blocks[5][0]}


def test_a_weight_that_moves_stays_what_it_is(blocks):
    weights = streamed(blocks)
    layers = there_and_back(blocks)
    with weights.hold(layers):
        walk(weights, layers)
        for layer in layers:
            layer.weight.data = layer.weight.data.clone()
        walk(weights, layers)


def test_what_is_being_read_is_not_written_over(blocks):
    weights = streamed(blocks)
    layers = there_and_back(blocks)
    with weights.hold(layers), weights.borrow(blocks[0][0], FLOAT, CPU) as (first, _):
        for layer in layers * 2:
            walk(weights, [layer])
            assert torch.equal(first, blocks[0][0].weight)
        second_pair, third_pair = (weights.borrow(b[0], FLOAT, CPU) for b in blocks[1:3])
        with second_pair as (second, _), third_pair:
            for layer in blocks[3] + blocks[4]:  # no buffer is free: from the owner
                walk(weights, [layer])
                assert torch.equal(first, blocks[0][0].weight)
                assert torch.equal(second, blocks[1][0].weight)


def test_nothing_is_left_when_it_ends(blocks):
    owner, freed = Owner(), []

    class Pinned:
        def __enter__(self):
            return lambda tensor: tensor.detach().clone()

        def __exit__(self, *_):
            freed.append(True)

    weights = streamed(blocks, owner, pinning=Pinned)
    layers = there_and_back(blocks)
    for kind in (KeyboardInterrupt, ValueError):
        with pytest.raises(kind), weights.hold(layers):
            walk(weights, layers)
            raise kind
        assert freed.pop() and not owner.borrowed
        walk(weights, layers[:1])
        assert owner.borrowed.pop() is layers[0]


def test_what_is_pinned_is_what_is_read(blocks):
    @contextmanager
    def pinning():
        yield lambda tensor: tensor.detach() + 1

    weights = streamed(blocks, pinning=pinning)
    with weights.hold([]), weights.borrow(blocks[3][0], FLOAT, CPU) as (weight, _):
        assert torch.equal(weight, blocks[3][0].weight + 1)


def test_cast_to_what_is_computed_in(blocks):
    weights = streamed(blocks)
    with weights.hold([]), weights.borrow(blocks[0][0], torch.bfloat16, CPU) as (weight, bias):
        assert torch.equal(weight, blocks[0][0].weight.bfloat16()) and bias.dtype == torch.bfloat16
