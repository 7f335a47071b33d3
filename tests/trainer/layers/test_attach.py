import copy

import pytest
import torch
from torch import nn

from pack.tests.trainer.tiny_unet import MovingWeights, PlainWeights, make_inputs, make_unet
from pack.trainer.config.lora import LoraConfig
from pack.trainer.frozen.forward import frozen_forward
from pack.trainer.layers.attach import (
    Attachment,
    AttachmentLost,
    Replacement,
    checkpoint_plan,
    leaf_plan,
)
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets

CONFIG = LoraConfig(rank=4, alpha=2.0, conv_rank=3)


class Probe(BaseException):
    pass


@pytest.fixture
def unet():
    return make_unet()


@pytest.fixture
def network(unet):
    """Adapters with random factors, so that both get gradients."""
    network = Network(find_targets(unet, CONFIG), seed=3)
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=rng))
    return network


def full_plan(unet, network, *, checkpointing=False, weights=None):
    plan = leaf_plan(unet, network, weights or PlainWeights())
    return plan + checkpoint_plan(unet) if checkpointing else plan


def snapshot(unet):
    """Everything about the modules that an attachment could leave behind."""
    return {
        name: (dict(module.__dict__), dict(module._parameters), module.training)
        for name, module in unet.named_modules()
    }


def gradients(unet, network, plan):
    """The output, and the gradients of all factors for a fixed upstream gradient."""
    with Attachment(plan):
        out = unet(*make_inputs())
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(7))
    return out.detach(), torch.autograd.grad(out, network.parameters(), upstream)


def reference(unet, network):
    """The same by plain autograd: a copy with ordinary weights, adapters added by hooks."""
    plain = copy.deepcopy(unet)
    for module in plain.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                module._parameters[name] = nn.Parameter(parameter.clone(), requires_grad=False)
    for target in network.targets:
        adapter = network.adapters[target.key]
        plain.get_submodule(target.path).register_forward_hook(
            lambda _, inputs, output, adapter=adapter: output + adapter(*inputs)
        )
    return gradients(plain, network, [])


def saved_bytes(unet, network, plan):
    """Bytes that autograd keeps for backward, parameters of the adapters left out."""
    own = {parameter.data_ptr() for parameter in network.parameters()}
    sizes = {}

    def keep(tensor):
        if tensor.data_ptr() not in own:
            sizes[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with Attachment(plan), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        out = unet(*make_inputs())
    assert out.requires_grad
    return sum(sizes.values())


def test_the_plan_covers_every_layer_that_owns_weights(unet, network):
    plan = leaf_plan(unet, network, PlainWeights())
    owners = [n for n, m in unet.named_modules() if any(True for _ in m.parameters(False))]
    assert [step.name for step in plan] == owners
    assert all(unet.get_submodule(step.name) is step.module for step in plan)


def test_gradients_are_those_of_plain_autograd(unet, network):
    out, grads = reference(unet, network)
    ours, our_grads = gradients(unet, network, full_plan(unet, network))
    torch.testing.assert_close(ours, out, rtol=1e-6, atol=1e-6)
    assert all(grad.any() for grad in grads)
    for ours, grad in zip(our_grads, grads, strict=True):
        torch.testing.assert_close(ours, grad, rtol=1e-5, atol=1e-6)


def test_only_the_targets_get_an_adapter(unet, network):
    chosen = network.targets[::7]
    part = Network(chosen, seed=3)
    part.load({k: v for k, v in network.state_dict().items() if k.split(".")[0] in part.adapters})
    out, _ = reference(unet, part)
    ours, _ = gradients(unet, part, leaf_plan(unet, part, PlainWeights()))
    torch.testing.assert_close(ours, out, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(ours, reference(unet, network)[0])


def test_checkpointing_changes_no_bit_and_saves_memory(unet, network):
    out, grads = gradients(unet, network, full_plan(unet, network))
    plan = full_plan(unet, network, checkpointing=True)
    ours, our_grads = gradients_attached(unet, network, plan)
    assert torch.equal(ours, out)
    assert all(torch.equal(a, b) for a, b in zip(our_grads, grads, strict=True))
    whole = saved_bytes(unet, network, full_plan(unet, network))
    assert 0 < saved_bytes(unet, network, plan) < 0.5 * whole


def gradients_attached(unet, network, plan):
    """Backward while attached, as recomputation needs it."""
    with Attachment(plan):
        out = unet(*make_inputs())
        upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(7))
        return out.detach(), torch.autograd.grad(out, network.parameters(), upstream)


def test_checkpoints_are_the_transformer_blocks_and_resnets(unet):
    plan = checkpoint_plan(unet)
    assert {type(step.module).__name__ for step in plan} == {"BasicTransformerBlock", "ResBlock"}
    assert len(plan) == 2 + 6


@pytest.mark.parametrize("checkpointing", [False, True])
def test_weights_that_move_give_the_same_gradients(unet, network, checkpointing):
    out, grads = gradients(unet, network, full_plan(unet, network))
    moving = full_plan(unet, network, checkpointing=checkpointing, weights=MovingWeights())
    ours, our_grads = gradients_attached(unet, network, moving)
    assert torch.equal(ours, out)
    assert all(torch.equal(a, b) for a, b in zip(our_grads, grads, strict=True))


def test_nothing_of_the_base_is_written(unet, network):
    before = {name: p.clone() for name, p in unet.named_parameters()}
    with Attachment(full_plan(unet, network, checkpointing=True)):
        unet(*make_inputs()).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    for name, parameter in unet.named_parameters():
        assert parameter.grad is None and not parameter.requires_grad
        assert parameter.is_inference() and torch.equal(parameter, before[name])


@pytest.mark.parametrize("end", [None, ValueError, KeyboardInterrupt, Probe])
def test_it_comes_off_whatever_ends_it(unet, network, end):
    before = snapshot(unet)
    with torch.no_grad():
        expected = unet(*make_inputs())
    try:
        with Attachment(full_plan(unet, network, checkpointing=True)):
            assert snapshot(unet) != before
            if end is not None:
                raise end
    except (ValueError, KeyboardInterrupt, Probe) as error:
        assert type(error) is end
    assert snapshot(unet) == before
    with torch.no_grad():
        assert torch.equal(unet(*make_inputs()), expected)


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_an_interrupt_inside_the_model_leaves_no_trace(unet, network, where, checkpointing):
    inside = unet.middle_block[1].transformer_blocks[0].attn1.to_k

    class Interrupting(PlainWeights):
        left = 1 if where == "forward" else 2

        def borrow(self, module, dtype, device):
            self.left -= module is inside
            if not self.left:
                raise Probe
            return super().borrow(module, dtype, device)

    before, reached = snapshot(unet), None
    plan = full_plan(unet, network, checkpointing=checkpointing, weights=Interrupting())
    with pytest.raises(Probe) as told, Attachment(plan):
        reached = "forward"
        out = unet(*make_inputs())
        reached = "backward"
        out.square().mean().backward()
    assert reached == where
    assert snapshot(unet) == before
    # While the traceback lives, PyTorch's hooks would too, and spoil what is computed next.
    assert told.tb is not None
    expected = reference(unet, network)[1]
    plan = full_plan(unet, network, checkpointing=checkpointing)
    ours = gradients_attached(unet, network, plan)[1]
    for found, grad in zip(ours, expected, strict=True):
        torch.testing.assert_close(found, grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_it_comes_off_when_putting_it_on_fails_midway(unet, network, kind):
    class Stubborn(nn.Linear):
        def __setattr__(self, name, value):
            if name == "forward":
                raise kind
            super().__setattr__(name, value)

    plan = leaf_plan(unet, network, PlainWeights())
    before = snapshot(unet)
    plan.insert(30, Replacement("stubborn", Stubborn(2, 2), lambda x: x))
    with pytest.raises(kind), Attachment(plan):
        pytest.fail("it went on")
    assert snapshot(unet) == before


def test_a_forward_that_stood_there_before_stands_there_again(unet, network):
    layer, block = unet.middle_block[1].proj_in, unet.middle_block[0]
    calls = []
    for module in (layer, block):
        module.forward = lambda *args, own=module.forward: calls.append(own) or own(*args)
    before = snapshot(unet)
    with Attachment(full_plan(unet, network, checkpointing=True)) as attachment:
        attachment.check()
        unet(*make_inputs()).mean().backward()
    assert snapshot(unet) == before
    assert "forward" in layer.__dict__ and "forward" in block.__dict__


def test_a_forward_put_over_ours_is_noticed(unet, network):
    with Attachment(leaf_plan(unet, network, PlainWeights())) as attachment:
        attachment.check()
        ours = unet.middle_block[1].proj_in.forward
        unet.middle_block[1].proj_in.forward = lambda x: x
        with pytest.raises(AttachmentLost, match=r"1 of \d+ .*first: middle_block\.1\.proj_in\)"):
            attachment.check()
        del unet.middle_block[1].proj_in.forward
        with pytest.raises(AttachmentLost):
            attachment.check()
        unet.middle_block[1].proj_in.forward = ours
        attachment.check()
    assert "forward" not in unet.middle_block[1].proj_in.__dict__


def test_after_the_end_nothing_is_attached(unet, network):
    with Attachment(leaf_plan(unet, network, PlainWeights())) as attachment:
        pass
    with pytest.raises(AttachmentLost):
        attachment.check()


def test_an_attachment_can_be_put_on_again(unet, network):
    before, attachment = snapshot(unet), Attachment(leaf_plan(unet, network, PlainWeights()))
    for _ in range(2):
        with attachment:
            attachment.check()
        assert snapshot(unet) == before


def test_a_replacement_of_two_levels_comes_off_in_reverse():
    layer = nn.Linear(2, 2)
    plan = [
        Replacement("a", layer, frozen_forward(layer, PlainWeights())),
        Replacement("b", layer, lambda x: x),
    ]
    with Attachment(plan):
        assert layer.forward is plan[1].forward
    assert "forward" not in layer.__dict__
