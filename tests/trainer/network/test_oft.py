"""OFT and BOFT: what they do to a layer, beside LyCORIS' own functions and a turn that is written out."""

import pytest
import torch
from lycoris.functional import boft, diag_oft
from torch import nn

from pack.tests.trainer.network.test_kinds import LAYERS, gradients, plainly
from pack.tests.trainer.tiny_unet import PlainWeights, make_inputs, make_unet
from pack.trainer.batches.plan import BatchItem
from pack.trainer.config.lora import LoraConfig
from pack.trainer.frozen.forward import frozen_forward
from pack.trainer.layers.attach import Attachment, leaf_plan
from pack.trainer.network.adapters import check_installed, make_adapter
from pack.trainer.network.dropout import Dropout
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import Target, find_targets

KINDS = {
    "oft": {"algorithm": "oft"},
    "oft 3 blocks": {"algorithm": "oft", "blocks": 3},
    "oft held": {"algorithm": "oft", "constraint": 0.01},
    "boft": {"algorithm": "boft", "rank": 18},
    "boft of stages": {"algorithm": "boft", "rank": 6, "width": 24},
    "boft held": {"algorithm": "boft", "rank": 18, "constraint": 0.01},
}


def make(kind, layer="linear"):
    """(adapter with random blocks, its frozen layer, an input)."""
    make_layer, shape = LAYERS[layer]
    given = {"rank": 4, "alpha": 1.5, **KINDS[kind]}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = make_layer()
        if width := given.pop(
            "width", 0
        ):  # a power of two of blocks takes another number of outputs
            conv = isinstance(module, nn.Conv2d)
            module = nn.Conv2d(12, width, 3) if conv else nn.Linear(12, width)
        module.requires_grad_(False)
        adapter = make_adapter(Target("a", "a", module, **given), torch.device("cpu"))
        nn.init.normal_(adapter.factors()["oft_blocks"], std=0.3)
        return adapter, module, torch.randn(shape, requires_grad=True)


def adapted(adapter, module):
    return adapter.around(frozen_forward(module, PlainWeights()), module, PlainWeights())


def changed(adapter, module):
    """The weight that LyCORIS makes of the blocks."""
    (blocks,) = adapter.factors().values()
    maths = diag_oft if blocks.dim() == 3 else boft
    given = {"constraint": adapter.limit, "backend": "torch"}
    return module.weight + maths.diff_weight(module.weight, blocks, None, **given)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", KINDS)
def test_output_and_gradients_are_those_of_the_weight_that_lycoris_makes(kind, layer):
    adapter, module, x = make(kind, layer)
    output = adapted(adapter, module)(x)
    expected = plainly(module, x, changed(adapter, module))
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    (blocks,) = adapter.factors().values()
    for ours, theirs in zip(
        gradients(output, x, blocks), gradients(expected, x, blocks), strict=True
    ):
        assert theirs.any()
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_a_turn_keeps_lengths_and_is_multiplied_as_written():
    adapter, module, x = make("oft")
    turns = adapter.turns().detach() + torch.eye(3)
    torch.testing.assert_close(turns @ turns.mT, torch.eye(3).expand(6, 3, 3), atol=1e-5, rtol=1e-5)
    before = plainly(module, x, module.weight) - module.bias
    expected = before.clone()
    for number, turn in enumerate(turns):
        part = slice(3 * number, 3 * number + 3)
        expected[..., part] = before[..., part] @ turn
    torch.testing.assert_close(
        adapted(adapter, module)(x), expected + module.bias, atol=1e-5, rtol=1e-4
    )


def test_a_constraint_holds_the_turn_of_a_layer():
    adapter, _, _ = make("oft held")
    free = adapter.blocks - adapter.blocks.mT
    assert adapter.limit == pytest.approx(0.18) and adapter.alpha == adapter.limit
    held = free * adapter.limit / free.norm()
    one = torch.eye(3)
    expected = (one + held) @ torch.linalg.inv(one - held) - one
    torch.testing.assert_close(adapter.turns(), expected, atol=1e-6, rtol=1e-4)


SHAPES = {
    ("oft", 320, 4): (80, 4, 4),
    ("oft", 320, 64): (64, 5, 5),
    ("oft", 320, 1000): (20, 16, 16),
    ("boft", 320, 32): (5, 16, 20, 20),
    ("boft", 1280, 16): (8, 128, 10, 10),
    ("boft", 768, 1024): (1, 1, 768, 768),
}


@pytest.mark.parametrize(("kind", "width", "rank"), SHAPES)
def test_blocks_have_the_sizes_of_lycoris(kind, width, rank):
    target = Target("a", "a", nn.Linear(4, width), rank, 1.0, kind)
    (blocks,) = make_adapter(target, torch.device("cpu")).factors().values()
    assert tuple(blocks.shape) == SHAPES[kind, width, rank]
    maths = diag_oft if kind == "oft" else boft
    theirs, _ = maths.weight_gen(torch.empty(width, 4), rank)
    if kind == "oft":  # there a size is told as a number, and the other way round
        assert sorted(theirs.shape) == sorted(blocks.shape)
    else:
        assert theirs.shape == blocks.shape


def test_layers_that_cannot_be_cut_are_named_with_what_would_do():
    for kind, more, words in (
        ("oft", {"blocks": 7}, "OFT cannot cut the 320 outputs of key into 7 blocks"),
        ("boft", {}, "BOFT cannot cut the 320 .* the rank must be 10 or more for this layer"),
    ):
        target = Target("a", "key", nn.Linear(4, 320), 4, 1.0, kind, **more)
        with pytest.raises(ValueError, match=words):
            make_adapter(target, torch.device("cpu"))


@pytest.mark.parametrize("kind", ["oft", "boft"])
def test_nothing_but_the_input_is_kept_for_backward(kind):
    adapter, module, x = make(kind, "3x3")
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.setdefault(t.data_ptr(), t), lambda t: t
    ):
        adapted(adapter, module)(x)
    assert kept.keys() == {x.data_ptr(), *(f.data_ptr() for f in adapter.factors().values())}


def test_it_computes_in_the_dtype_of_its_input():
    for kind in ("oft", "boft"):
        adapter, module, x = make(kind)
        output = adapted(adapter, module)(x.detach().bfloat16())
        assert output.dtype == torch.bfloat16
        expected = plainly(module, x, changed(adapter, module))
        torch.testing.assert_close(output.float(), expected, rtol=0.05, atol=0.05)
        output.sum().backward()
        assert adapter.blocks.grad.dtype == torch.float32


def test_channels_and_whole_adapters_are_dropped():
    adapter, module, x = make("oft")
    items = tuple(BatchItem(item_index=number, repeat=0, flipped=False) for number in range(2))
    drop = Dropout(LoraConfig(rank_dropout=0.5, module_dropout=0.3), 8, 0, items)
    plain, whole = plainly(module, x, module.weight), adapted(adapter, module)(x)
    expected = plain + drop.output("a", drop.ranks("a", whole - plain))
    adapter.drop(drop)
    assert not torch.equal(expected, whole)
    torch.testing.assert_close(adapted(adapter, module)(x), expected, atol=1e-5, rtol=1e-4)


def test_the_norm_of_the_blocks_is_limited():
    adapter, _, _ = make("oft")
    before = float(adapter.blocks.detach().norm())
    with torch.no_grad():
        assert float(adapter.limit_norm(before / 2)) == pytest.approx(before)
        assert float(adapter.limit_norm(before)) == pytest.approx(before / 2)
    assert float(adapter.blocks.detach().norm()) == pytest.approx(before / 2)


@pytest.mark.parametrize("algorithm", ["oft", "boft"])
def test_before_the_first_step_nothing_is_changed(algorithm):
    check_installed(algorithm)
    unet = make_unet()
    config = LoraConfig(8, 2.0, 8, algorithm=algorithm)
    network = Network(find_targets(unet, config), weights=PlainWeights())
    with torch.no_grad():
        expected = unet(*make_inputs())
        with Attachment(leaf_plan(unet, network, PlainWeights())):
            assert torch.equal(unet(*make_inputs()), expected)


REFUSED = {
    "oft keeps the lengths of weights": {"algorithm": "oft", "dora": True},
    "boft has no second factors": {"algorithm": "boft", "loraplus_ratio": 4.0},
    "oft_blocks is for oft alone": {"algorithm": "boft", "oft_blocks": 4},
    "oft_constraint is for oft and boft": {"oft_constraint": 0.1},
    "oft_blocks is -1": {"algorithm": "oft", "oft_blocks": -1},
    "oft_constraint is -1.0": {"algorithm": "oft", "oft_constraint": -1.0},
    "least_rank is for plain LoRAs": {"algorithm": "loha", "least_rank": 1},
    r"least_rank is 5; it must lie in 0\.\.4": {"rank": 4, "least_rank": 5},
    "layers is linear, which leaves out 3x3": {"layers": "linear", "conv_rank": 4},
    "layers is resnets, whose 3x3 .* set conv_rank": {"layers": "resnets"},
    "layers is 'all'; it must be one of standard": {"layers": "all"},
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_does_not_go_together_is_refused(sentence):
    with pytest.raises(ValueError, match=sentence):
        LoraConfig(**REFUSED[sentence])
