"""LoRA, LoHa and LoKr: what each adds, and its gradients, beside a change that is written out."""

import math
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pack.tests.trainer.tiny_unet import PlainWeights, make_inputs, make_unet
from pack.trainer.batches.plan import BatchItem
from pack.trainer.config.lora import LoraConfig
from pack.trainer.frozen.forward import frozen_forward
from pack.trainer.layers.attach import Attachment, leaf_plan
from pack.trainer.network.adapters import check_installed, make_adapter
from pack.trainer.network.dropout import Dropout
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import Target, find_targets

LAYERS = {
    "linear": (lambda: nn.Linear(12, 18), (2, 3, 12)),
    "1x1": (lambda: nn.Conv2d(12, 18, 1), (2, 12, 5, 5)),
    "3x3": (lambda: nn.Conv2d(12, 18, 3, padding=1), (2, 12, 5, 5)),
    "strided": (lambda: nn.Conv2d(12, 18, 3, stride=2, padding=1), (2, 12, 6, 8)),
    "odd": (lambda: nn.Conv2d(12, 18, (3, 5), dilation=2, padding=(2, 1)), (2, 12, 9, 9)),
}
KINDS = {
    "lora": {},
    "loha": {"algorithm": "loha"},
    "lokr": {"algorithm": "lokr"},
    "lokr 2": {"algorithm": "lokr", "factor": 2},
    "lokr whole": {"algorithm": "lokr", "rank": 3},
    "lokr full matrix": {"algorithm": "lokr", "whole": True, "alpha": 0.25},
    "lokr rank 10000": {"algorithm": "lokr", "rank": 10000, "alpha": 10000.0},
}


def made(target, seed=0):
    adapter = make_adapter(target, torch.device("cpu"))
    adapter.initialise(seed)
    return adapter


def make(kind, layer="linear", rank=2, seed=0, spread=0.3, **more):
    """(adapter with random factors, its frozen layer, an input)."""
    make_layer, shape = LAYERS[layer]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = make_layer().requires_grad_(False)
        target = Target("a", "a", module, **{"rank": rank, "alpha": 1.5, **KINDS[kind], **more})
        adapter = made(target, seed)
        adapter.measure(module, PlainWeights())
        for factor in adapter.factors().values():
            nn.init.normal_(factor, std=spread)
        return adapter, module, torch.randn(shape, requires_grad=True)


def written_out(factors, shape, alpha):
    """The change of weight that the tensors of a file stand for."""
    if "lora_up.weight" in factors:
        up, down = factors["lora_up.weight"], factors["lora_down.weight"]
        return torch.einsum("or,ri->oi", up.flatten(1), down.flatten(1)).view(shape) * alpha / 2
    if "hada_w1_a" in factors:
        halves = [
            torch.einsum("or,ri->oi", factors[f"hada_w{n}_a"], factors[f"hada_w{n}_b"])
            for n in (1, 2)
        ]
        return (halves[0] * halves[1]).view(shape) * alpha / 2
    (a, c), scale = factors["lokr_w1"].shape, 1.0
    b, d, kernel = shape[0] // a, shape[1] // c, shape[2:]
    block = factors.get("lokr_w2")
    if block is None:
        scale, block = alpha / 2, factors["lokr_w2_a"] @ factors["lokr_w2_b"]
    blocks = [[block.view(b, d, *kernel) * w for w in row] for row in factors["lokr_w1"]]
    return torch.cat([torch.cat(row, 1) for row in blocks], 0) * scale


def plainly(layer, x, weight):
    """The layer with another weight."""
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight, layer.bias)
    return F.conv2d(x, weight, layer.bias, layer.stride, layer.padding, layer.dilation)


def gradients(output, *inputs):
    upstream = torch.randn(output.shape, generator=torch.Generator().manual_seed(3))
    return torch.autograd.grad(output, inputs, upstream)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", KINDS)
def test_output_and_gradients_are_those_of_the_changed_weight(kind, layer):
    adapter, module, x = make(kind, layer)
    factors = adapter.factors()
    output = adapter.around(frozen_forward(module, PlainWeights()), module, PlainWeights())(x)
    change = written_out(factors, module.weight.shape, 1.5)
    expected = plainly(module, x, module.weight + change)
    torch.testing.assert_close(adapter.change(), change, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    found = gradients(output, x, *factors.values())
    for ours, theirs in zip(found, gradients(expected, x, *factors.values()), strict=True):
        assert theirs.any()
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


SHAPES = {
    ("loha", "linear"): {"hada_w1_a": (18, 2), "hada_w1_b": (2, 12)},
    ("loha", "3x3"): {"hada_w2_a": (18, 2), "hada_w2_b": (2, 108)},
    ("lokr", "linear"): {"lokr_w1": (3, 3), "lokr_w2": (6, 4)},
    ("lokr 2", "linear"): {"lokr_w1": (2, 2), "lokr_w2_a": (9, 2), "lokr_w2_b": (2, 6)},
    ("lokr 2", "3x3"): {"lokr_w1": (2, 2), "lokr_w2_a": (9, 2), "lokr_w2_b": (2, 54)},
    ("lokr whole", "3x3"): {"lokr_w1": (3, 3), "lokr_w2": (6, 4, 3, 3)},
    ("lokr full matrix", "linear"): {"lokr_w1": (3, 3), "lokr_w2": (6, 4)},
    ("lokr full matrix", "3x3"): {"lokr_w1": (3, 3), "lokr_w2": (6, 4, 3, 3)},
}


@pytest.mark.parametrize(("kind", "layer"), SHAPES)
def test_names_and_shapes_are_lycoris(kind, layer):
    rank = 3 if kind in ("lokr", "lokr whole") else 2
    adapter, _, _ = make(kind, layer, rank)
    shapes = {name: tuple(factor.shape) for name, factor in adapter.factors().items()}
    assert shapes.items() >= SHAPES[kind, layer].items()
    assert len(shapes) == {"loha": 4, "lokr 2": 3}.get(kind, 2)
    assert adapter.alpha == (rank if "lokr_w2" in shapes else 1.5)


def test_the_alpha_of_a_whole_matrix_fits_fp16():
    adapter, _, _ = make("lokr", rank=100_000)
    assert adapter.scale == 1.0 and 0 < torch.tensor(adapter.alpha).half() < math.inf


def test_the_settings_reach_the_layers():
    config = LoraConfig(2, 1.0, 3, 1.5, algorithm="lokr", lokr_factor=2)
    state = Network(find_targets(make_unet(), config)).state_dict()
    key = "lora_unet_input_blocks_3_0_out_layers_3"  # 16 to 16, 3 x 3
    shapes = {name: tuple(state[f"{key}.{name}"].shape) for name in ("lokr_w1", "lokr_w2_b")}
    assert shapes == {"lokr_w1": (2, 2), "lokr_w2_b": (3, 8 * 9)}
    assert float(state[f"{key}.alpha"]) == 1.5


@pytest.mark.parametrize("kind", ["loha", "lokr", "lokr 2"])
def test_nothing_but_the_input_is_kept_for_backward(kind):
    adapter, _, x = make(kind, "3x3")
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.setdefault(t.data_ptr(), t), lambda t: t
    ):
        adapter(x)
    assert kept.keys() == {x.data_ptr(), *(f.data_ptr() for f in adapter.factors().values())}


@pytest.mark.parametrize("kind", KINDS)
def test_it_computes_in_the_dtype_of_its_input(kind):
    adapter, module, x = make(kind)
    output = adapter(x.detach().bfloat16())  # no gradient for the input is asked for
    assert output.dtype == torch.bfloat16
    change = written_out(adapter.factors(), module.weight.shape, 1.5)
    torch.testing.assert_close(output.float(), F.linear(x, change), rtol=0.05, atol=0.05)
    output.sum().backward()
    assert all(f.dtype == f.grad.dtype == torch.float32 for f in adapter.factors().values())


@pytest.mark.parametrize("layer", ["linear", "3x3"])
@pytest.mark.parametrize("kind", ["loha", "lokr", "lokr 2"])
def test_channels_and_whole_adapters_are_dropped(kind, layer):
    adapter, _, x = make(kind, layer)
    items = tuple(BatchItem(item_index=number, repeat=0, flipped=False) for number in range(2))
    drop = Dropout(LoraConfig(rank_dropout=0.5, module_dropout=0.3), 8, 0, items)
    whole = adapter.plain(x)
    expected = drop.output("a", drop.ranks("a", whole))
    adapter.drop(drop)
    assert expected.any() and not torch.equal(expected, whole)
    output, factors = adapter(x), adapter.factors().values()
    torch.testing.assert_close(output, expected)
    adapter.drop(None)  # backward of a text encoder comes when other samples are under way
    for ours, theirs in zip(
        gradients(output, *factors), gradients(expected, *factors), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dora", [False, True], ids=["", "dora"])
@pytest.mark.parametrize("algorithm", ["lora", "loha", "lokr"])
def test_before_the_first_step_nothing_is_changed(algorithm, dora):
    unet = make_unet()
    config = LoraConfig(2, 2.0, 2, algorithm=algorithm, dora=dora)
    network = Network(find_targets(unet, config), weights=PlainWeights())
    with torch.no_grad():
        expected = unet(*make_inputs())
        with Attachment(leaf_plan(unet, network, PlainWeights())):
            assert torch.equal(unet(*make_inputs()), expected)
        assert torch.equal(unet(*make_inputs()), expected)


@pytest.mark.parametrize("algorithm", ["loha", "lokr"])
def test_the_start_is_a_function_of_seed_key_and_name(algorithm):
    config = LoraConfig(2, 2.0, 2, algorithm=algorithm)
    states = [
        Network(find_targets(make_unet(), config), seed).state_dict() for seed in (1, 1, 2)
    ]  # fmt: skip
    drawn = {key for key, tensor in states[0].items() if tensor.dim() and tensor.any()}
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not any(torch.equal(states[0][key], states[2][key]) for key in drawn)
    assert len({tuple(states[0][key].flatten()[:2].tolist()) for key in drawn}) == len(drawn)


def test_the_spreads_of_the_start_are_lycoris():
    target = Target("a", "a", nn.Linear(400, 300), 16, 16.0, "loha")
    factors = made(target).factors()
    for name, std in {"hada_w1_a": 0.1, "hada_w1_b": 1.0, "hada_w2_a": 0, "hada_w2_b": 1.0}.items():
        assert float(factors[name].detach().std()) == pytest.approx(std, rel=0.05)
    target = Target("a", "a", nn.Linear(400, 300), 4, 4.0, "lokr")
    factors = made(target).factors()
    assert {name: f.shape[1] for name, f in factors.items()} == {
        "lokr_w1": 20, "lokr_w2_a": 4, "lokr_w2_b": 20,
    }  # fmt: skip
    for name in ("lokr_w1", "lokr_w2_a"):
        bound = 1 / math.sqrt(factors[name].shape[1])
        assert 0.85 * bound < float(factors[name].detach().abs().max()) <= bound
    assert not factors["lokr_w2_b"].any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [0.5, 2.0])
def test_norms_are_limited_with_all_factors_shrunk_alike(kind, part):
    adapter, module, _ = make(kind, "3x3")
    before = {name: factor.detach().clone() for name, factor in adapter.factors().items()}
    norm = float(written_out(before, module.weight.shape, 1.5).norm())
    with torch.no_grad():
        assert float(adapter.limit_norm(norm * part)) == pytest.approx(norm, rel=1e-4)
    shrunk = [
        float(f.detach().norm() / before[name].norm()) for name, f in adapter.factors().items()
    ]
    assert shrunk == pytest.approx([min(part, 1.0) ** (1 / len(before))] * len(before), rel=1e-4)
    assert float(adapter.change().detach().norm()) == pytest.approx(norm * min(part, 1.0), rel=1e-4)


def test_an_old_package_is_said(monkeypatch):
    monkeypatch.setattr("lycoris.functional.loha.diff_weight", lambda *weights, gamma=1.0: None)
    with pytest.raises(ValueError, match=r"lycoris-lora 4 or later.*\(a version below 4\)"):
        check_installed("loha")
    check_installed("lokr")


def test_a_missing_package_is_said(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "lycoris"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lycoris", None)
    check_installed("lora")
    for algorithm in ("loha", "lokr"):
        with pytest.raises(ValueError, match=rf"{algorithm} needs .*pip install lycoris-lora"):
            check_installed(algorithm)


REFUSED = {
    "algorithm is 'loka'; it must be one of lora, loha, lokr, oft, boft": {"algorithm": "loka"},
    "loha has no values between two factors": {"algorithm": "loha", "dropout": 0.1},
    "it must be -1 or at least 1": {"algorithm": "lokr", "lokr_factor": 0},
    "lokr_factor is for lokr alone": {"algorithm": "loha", "lokr_factor": 8},
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_does_not_go_together_is_refused(sentence):
    with pytest.raises(ValueError, match=sentence):
        LoraConfig(**REFUSED[sentence])
