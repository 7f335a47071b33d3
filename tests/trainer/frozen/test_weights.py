from contextlib import contextmanager

import pytest
import torch
from torch import nn

from pack.tests.trainer.tiny_unet import PlainWeights, make_inputs, make_unet
from pack.trainer.config.lora import LoraConfig
from pack.trainer.frozen.weights import Lookahead
from pack.trainer.layers.attach import Attachment, leaf_plan
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets


class Recording(PlainWeights):
    """Remembers borrows and prefetches in order; knows what lies ready, which is one module."""

    def __init__(self):
        self.log = []
        self.ready = None
        self.hits = 0
        self.asked = set()

    def borrow(self, module, dtype, device):
        self.hits += module is self.ready
        self.ready = None
        self.log.append(("borrow", module))
        return super().borrow(module, dtype, device)

    def prefetch(self, module, dtype, device):
        self.ready = module
        self.asked.add((dtype, device))
        self.log.append(("prefetch", module))

    def clear(self):
        self.log.clear()
        self.hits = 0

    @property
    def borrows(self):
        return [module for what, module in self.log if what == "borrow"]


def walk(weights, modules):
    for module in modules:
        with weights.borrow(module, torch.float32, torch.device("cpu")):
            pass


@pytest.fixture
def layers():
    return [nn.Linear(2, 2) for _ in range(5)]


def test_nothing_is_fetched_while_the_order_is_unknown(layers):
    recording = Recording()
    walk(Lookahead(recording), layers + layers[::-1])
    assert recording.log == [("borrow", layer) for layer in layers + layers[::-1]]


def test_the_next_layer_is_fetched_forward_and_backward(layers):
    recording = Recording()
    ahead = Lookahead(recording)
    step = layers + layers[::-1]
    for _ in range(2):
        walk(ahead, step)
    recording.clear()
    walk(ahead, step)
    following = step[1:] + step[:1]
    expected = [pair for a, b in zip(step, following, strict=True)
                for pair in (("borrow", a), ("prefetch", b))]  # fmt: skip
    assert recording.log == expected
    assert recording.hits == len(step)


def test_the_fetch_begins_while_the_layer_is_lent(layers):
    events = []

    class Lending(PlainWeights):
        @contextmanager
        def borrow(self, module, dtype, device):
            events.append("lent")
            with super().borrow(module, dtype, device) as pair:
                yield pair
            events.append("back")

        def prefetch(self, module, dtype, device):
            events.append("prefetch")

    ahead = Lookahead(Lending())
    for _ in range(3):
        walk(ahead, layers[:2])
    assert events[-3:] == ["lent", "prefetch", "back"]


def test_it_learns_another_order(layers):
    recording = Recording()
    ahead = Lookahead(recording)
    for _ in range(3):
        walk(ahead, layers)
    other = [layers[i] for i in (3, 1, 4, 0, 2)]
    for _ in range(3):
        walk(ahead, other)
    recording.clear()
    walk(ahead, other)
    assert recording.hits == len(other)


def test_what_is_asked_for_goes_on_to_the_owner(layers):
    class Owner(Recording):
        def hold(self, modules):
            self.held = list(modules)
            return super().hold(self.held)

    owner = Owner()
    ahead = Lookahead(owner)
    with ahead.hold(layers) as count:
        assert count == 0 and owner.held == layers
    ahead.prefetch(layers[0], torch.float16, torch.device("cpu"))
    assert owner.log == [("prefetch", layers[0])]
    with ahead.borrow(layers[0], torch.float32, torch.device("cpu")) as (weight, bias):
        assert torch.equal(weight, layers[0].weight) and torch.equal(bias, layers[0].bias)


def test_gradients_through_a_whole_unet_are_the_same():
    unet = make_unet()
    network = Network(find_targets(unet, LoraConfig(rank=2, alpha=2, conv_rank=2)))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.05)

    def grads(weights):
        with Attachment(leaf_plan(unet, network, weights)):
            out = unet(*make_inputs()).square().mean()
            return torch.autograd.grad(out, network.parameters())

    expected = grads(PlainWeights())
    recording = Recording()
    ahead = Lookahead(recording)
    for step in range(3):
        recording.clear()
        ours = grads(ahead)
        assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True)), step
    assert recording.hits == len(recording.borrows) > 100
    assert recording.asked == {(torch.float32, torch.device("cpu"))}
