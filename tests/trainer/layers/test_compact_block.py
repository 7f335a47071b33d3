"""The compact transformer block: its formulas to the last digits, and how its gradients reach the factors."""

import copy
import dataclasses

import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

from pack.bench.counted.counter import count
from pack.tests.trainer.layers.random_network import PLAIN, make_network
from pack.tests.trainer.layers.test_attach import reference
from pack.tests.trainer.layers.test_compact import assert_close, gradients
from pack.tests.trainer.tiny_unet import PlainWeights, make_inputs
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.layers import context_products
from pack.trainer.layers.attach import Attachment, checkpoint_plan, leaf_plan
from pack.trainer.layers.compact_plan import TOGETHER, compact_plan
from pack.trainer.layers.recognise import is_transformer, odd_blocks
from pack.trainer.layers.recompute import Again, Block, find_blocks
from pack.trainer.network.adapters import Lora
from pack.trainer.optim.optimiser import Optimiser

BLOCK = "middle_block.1.transformer_blocks.0"
LAYERS = (
    "attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "attn2.to_q", "attn2.to_k",
    "attn2.to_v", "attn2.to_out.0", "ff.net.0.proj", "ff.net.2",
)  # fmt: skip
CPU = torch.device("cpu")


def block_step(unet, forward, network, dtype=torch.float64):
    """The output of one block for a fixed upstream gradient, the gradients of x and context, and of factors."""
    rng = torch.Generator().manual_seed(5)
    x, upstream = (torch.randn(2, 9, 16, generator=rng, dtype=dtype) for _ in range(2))
    context = torch.randn(2, 5, 12, generator=rng, dtype=dtype)
    x.requires_grad_()
    context.requires_grad_()
    out = forward(x, context)
    out.backward(upstream)
    own = [adapter for key, adapter in network.adapters.items() if "middle_block_1_trans" in key]
    factors = [factor.grad.clone() for a in own for factor in a.factors().values()]
    for parameter in network.parameters():
        parameter.grad = None
    return [out.detach(), x.grad, context.grad, *factors]


def plain_block(unet, network):
    """The block by plain autograd, in float64."""
    block = copy.deepcopy(unet.get_submodule(BLOCK)).double()
    for module in block.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                module._parameters[name] = nn.Parameter(parameter.clone(), requires_grad=False)
    for name in LAYERS:
        adapter = adapter_of(network, name)
        if adapter is not None:
            block.get_submodule(name).register_forward_hook(
                lambda _, inputs, output, adapter=adapter: output + adapter(*inputs)
            )
    return block


def key_of(name):
    return f"lora_unet_{BLOCK}.{name}".replace(".", "_")


def adapter_of(network, name):
    return network.adapters.get(key_of(name))


def resized(network, ranks, alphas=None):
    """Other ranks in the middle block; 0: no adapter."""
    for target in list(network.targets):
        name = target.path.removeprefix(f"{BLOCK}.")
        if name not in ranks:
            continue
        if not ranks[name]:
            network.targets.remove(target)
            del network.adapters[target.key]
            continue
        new = dataclasses.replace(target, rank=ranks[name], alpha=(alphas or {}).get(name, 2.0))
        adapter = Lora(new, CPU)
        with torch.no_grad():
            for number, factor in enumerate(adapter.factors().values()):
                rng = torch.Generator().manual_seed(number)
                factor.copy_(0.1 * torch.randn(factor.shape, generator=rng))
        network.adapters[target.key] = adapter


@pytest.mark.parametrize(
    "ranks, alphas",
    [
        ({}, {}),
        ({"attn1.to_k": 3, "attn2.to_v": 2, "ff.net.2": 5}, {}),
        ({"attn1.to_k": 4, "attn2.to_v": 4}, {"attn1.to_k": 1.0, "attn2.to_v": 8.0}),
        ({"attn1.to_v": 0, "attn2.to_k": 0, "attn2.to_out.0": 0}, {}),
        ({"attn2.to_k": 0, "attn2.to_v": 0, "ff.net.0.proj": 0, "ff.net.2": 0}, {}),
        (dict.fromkeys(LAYERS[:-1], 0), {}),
    ],
)
def test_a_block_in_float64_is_plain_autograd(unet, network, ranks, alphas):
    """Equal ranks, other ranks, other scales, and layers without adapters."""
    resized(network, ranks, alphas)
    for adapter in network.adapters.values():
        adapter.double()
    expected = block_step(unet, plain_block(unet, network), network)
    plan = compact_plan(unet, network, PlainWeights())
    forward = next(step.forward for step in plan if step.name == BLOCK)
    found = block_step(unet, forward, network)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).norm() <= 1e-12 * theirs.norm()


def test_a_block_that_is_computed_again_leaves_out_its_last_product(unet, network):
    """Nothing of it is kept; planted: the whole forward once more."""
    rows = []
    block = unet.get_submodule(BLOCK)
    hook = block.register_forward_pre_hook(lambda _, inputs: rows.append(inputs[0][..., 0].numel()))

    def flops(**planted):
        plan = compact_plan(unet, network, PlainWeights())
        plan = [dataclasses.replace(step, **planted) for step in plan]
        plan += checkpoint_plan(unet, {Block(BLOCK, "small"): Again.ALL}, plan)
        with Attachment(plan):
            return count(lambda: unet(*make_inputs()).sum(), unet.parameters()).flops

    less = flops(again=None) - flops()
    hook.remove()
    last, adapter = block.ff.net[2], adapter_of(network, "ff.net.2")
    channels = last.in_features * last.out_features + adapter.up.numel()
    assert less == 2 * rows[0] * channels


@pytest.mark.parametrize("first", Again)
def test_blocks_that_read_their_factors_together(unet, first):
    """A run of as many as may be and one that is shorter; at all levels, and with factors that change."""
    blocks = unet.middle_block[1].transformer_blocks
    with torch.inference_mode():
        blocks.extend(copy.deepcopy(blocks[0]) for _ in range(TOGETHER + 1))
    network = make_network(unet, PLAIN)
    levels = {
        block: Again((number + first) % len(Again))
        for number, block in enumerate(find_blocks(unet))
    }
    plan = compact_plan(unet, network, PlainWeights(), levels)
    plan += checkpoint_plan(unet, levels, plan)
    for _ in range(2):
        assert_close(gradients(unet, network, plan), reference(unet, network))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(1.5)


def test_gradients_add_up_wherever_they_lie(unet, network):
    """Of two backwards; into none, into gradients of other places, and into those of an optimiser."""
    plan = compact_plan(unet, network, PlainWeights())
    once = gradients(unet, network, plan)[1]
    parameters = network.parameters()

    def backward():
        with Attachment(plan):
            out = unet(*make_inputs())
            out.backward(torch.randn(out.shape, generator=torch.Generator().manual_seed(7)))

    def check(times):
        for parameter, gradient in zip(parameters, once, strict=True):
            torch.testing.assert_close(parameter.grad, times * gradient, rtol=1e-5, atol=1e-6)

    backward()
    backward()
    check(2)
    for parameter in parameters[::3]:
        parameter.grad = None
    for parameter in parameters[1::3]:
        parameter.grad = parameter.grad.clone()
    backward()
    for number, (parameter, gradient) in enumerate(zip(parameters, once, strict=True)):
        times = 3 if number % 3 else 1
        torch.testing.assert_close(parameter.grad, times * gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["AdamW", "Adafactor"])
def test_optimisers_learn_the_same_as_by_plain_autograd(unet, kind):
    """One over a flat buffer, and one that takes tensor by tensor; the factors move in the first step."""

    def learnt(compact):
        network = make_network(unet, PLAIN)
        groups = network.groups(PLAIN)
        optimiser = Optimiser(groups, OptimiserConfig(type=kind, learning_rate=1e-2))
        plan = compact_plan(unet, network, PlainWeights())
        for _ in range(3):
            if compact:
                with Attachment(plan):
                    unet(*make_inputs()).square().mean().backward()
            else:
                with_plain_gradients(unet, network)
            optimiser.step(1e-2)
        return network.state_dict()

    ours, theirs = learnt(True), learnt(False)
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-3, atol=1e-4)


def with_plain_gradients(unet, network):
    with Attachment(leaf_plan(unet, network, PlainWeights())):
        unet(*make_inputs()).square().mean().backward()


def operations(unet, network, plan):
    with Attachment(plan):
        return count(lambda: unet(*make_inputs()).square().mean(), network.parameters()).launches


def test_neighbours_are_read_and_added_to_as_one(unet, network):
    """With an optimiser that keeps the layout; one that mixes it up costs an operation for each factor."""
    plan = compact_plan(unet, network, PlainWeights())
    gradients(unet, network, plan)
    one = Optimiser(network.groups(PLAIN), OptimiserConfig())
    with Attachment(plan):
        unet(*make_inputs()).square().mean().backward()
    one.step(1e-4)
    together = operations(unet, network, plan)
    for parameter in network.parameters():
        parameter.data = parameter.data.clone()
    assert operations(unet, network, plan) > together + 50


def test_first_gradients_do_not_outlive_their_move(unet, network):
    """The optimiser copies them into its buffer, and nothing holds the memory that they had."""
    with Attachment(compact_plan(unet, network, PlainWeights())):
        unet(*make_inputs()).square().mean().backward()
        old = {StorageWeakRef(p.grad.untyped_storage()) for p in network.parameters()}
        Optimiser(network.groups(PLAIN), OptimiserConfig()).step(1e-4)
        assert all(reference.expired() for reference in old)


def test_all_cross_attentions_share_one_product_of_the_context(unet, network, monkeypatch):
    made = []
    own = context_products.Hidden.__init__

    def counted(self, *inputs):
        made.append(self)
        own(self, *inputs)

    monkeypatch.setattr(context_products.Hidden, "__init__", counted)
    gradients(unet, network, compact_plan(unet, network, PlainWeights()))
    assert len(made) == 1


def test_factors_of_now_count_for_the_same_context(unet, network):
    plan = compact_plan(unet, network, PlainWeights())
    inputs = make_inputs()
    with Attachment(plan), torch.no_grad():
        unet(*inputs)
        for parameter in network.parameters():
            parameter.mul_(-1.5)
        ours = unet(*inputs)
    torch.testing.assert_close(ours, reference(unet, network)[0], rtol=1e-5, atol=1e-6)


def test_a_preview_may_come_first(unet, network):
    """The host's own work runs in inference mode; what is made in it could not be written to later."""
    plan = compact_plan(unet, network, PlainWeights())
    with Attachment(plan), torch.inference_mode():
        unet(*make_inputs())
    assert_close(gradients(unet, network, plan), reference(unet, network))


def test_a_context_that_is_used_twice_gives_the_sum(unet, network):
    x, t, context, y = make_inputs()
    plan = compact_plan(unet, network, PlainWeights())

    def found(plan):
        with Attachment(plan):
            (unet(x, t, context, y) + 2 * unet(-x, t, context, y)).square().mean().backward()
        grads = [parameter.grad for parameter in network.parameters()]
        for parameter in network.parameters():
            parameter.grad = None
        return 0, grads

    ours, theirs = found(plan), found(leaf_plan(unet, network, PlainWeights()))
    for a, b in zip(ours[1], theirs[1], strict=True):
        assert (a - b).norm() <= 1e-5 * b.norm()


def test_what_is_left_of_a_backward_that_failed_does_not_count(unet, network):
    plan = compact_plan(unet, network, PlainWeights())
    expected = gradients(unet, network, plan)

    class Failing(PlainWeights):
        left = 40

        def borrow(self, module, dtype, device):
            self.left -= 1
            if self.left < 0 and module is unet.get_submodule(f"{BLOCK}.attn1.to_out.0"):
                raise RuntimeError("out of memory")
            return super().borrow(module, dtype, device)

    failing = compact_plan(unet, network, weights := Failing())
    weights.left = 10**6
    with Attachment(failing):
        out = unet(*make_inputs())
        weights.left = 0
        with pytest.raises(RuntimeError, match="out of memory"):
            out.sum().backward()
        weights.left = 10**6
        for parameter in network.parameters():
            parameter.grad = None
        assert_close(gradients(unet, network, failing), expected)


def test_a_block_with_a_forward_of_its_own_keeps_it(unet, network):
    block = unet.get_submodule(BLOCK)
    block.attn2.forward = block.attn2.forward
    found = [
        s.name for s in compact_plan(unet, network, PlainWeights()) if is_transformer(s.module)
    ]
    assert found == ["input_blocks.3.1.transformer_blocks.0"]


def test_what_nodes_put_into_blocks_is_heeded(unet, network, monkeypatch):
    """Their own forward does, layer by layer."""
    kind = type(unet.get_submodule(BLOCK))
    asked = []
    monkeypatch.setattr(kind, "forward", lambda self, x, context, **options: asked.append(options))
    plan = compact_plan(unet, network, PlainWeights())
    forward = next(step.forward for step in plan if step.name == BLOCK)
    x, context = torch.randn(2, 9, 16), torch.randn(2, 5, 12)
    patched = {"transformer_options": {"patches": {"attn1_patch": [print]}}}
    forward(x, context=context, **patched)
    forward(x, context=context, transformer_options={"patches": {}})
    assert asked == [patched]


def test_a_block_that_computes_otherwise_is_found(unet, network, monkeypatch):
    plan = compact_plan(unet, network, PlainWeights())
    assert odd_blocks(plan, torch.float32, CPU) == []
    kind = type(unet.get_submodule(BLOCK))
    own = kind.forward
    monkeypatch.setattr(kind, "forward", lambda self, x, context: own(self, x, context) + 0.01 * x)
    odd = odd_blocks(compact_plan(unet, network, PlainWeights()), torch.float32, CPU)
    assert odd == ["input_blocks.3.1.transformer_blocks.0"]
