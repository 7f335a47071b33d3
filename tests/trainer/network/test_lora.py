import json
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pack.tests.trainer.tiny_unet import (
    CONV_LAYERS,
    TRANSFORMER_LAYERS,
    PlainWeights,
    make_inputs,
    make_unet,
)
from pack.trainer.config.lora import LoraConfig
from pack.trainer.layers.attach import Attachment, leaf_plan
from pack.trainer.network.adapters import Lora
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import Target, find_targets

PLAIN = LoraConfig(rank=4, alpha=2.0)
CONV = LoraConfig(rank=4, alpha=2.0, conv_rank=3, conv_alpha=1.5)
TRANSFORMER = [
    "proj_in",
    "transformer_blocks_0_attn1_to_q",
    "transformer_blocks_0_attn1_to_k",
    "transformer_blocks_0_attn1_to_v",
    "transformer_blocks_0_attn1_to_out_0",
    "transformer_blocks_0_ff_net_0_proj",
    "transformer_blocks_0_ff_net_2",
    "transformer_blocks_0_attn2_to_q",
    "transformer_blocks_0_attn2_to_k",
    "transformer_blocks_0_attn2_to_v",
    "transformer_blocks_0_attn2_to_out_0",
    "proj_out",
]
"""kohya's order below one transformer (creation_order of the golden run)."""


@pytest.fixture
def unet():
    return make_unet()


def network(unet, config=PLAIN, seed=0):
    return Network(find_targets(unet, config), seed)


def only(layer, config=CONV, kind="ResBlock"):
    """The one target of a block of the given class that holds `layer`."""
    block = type(kind, (nn.Sequential,), {})(layer)
    (target,) = find_targets(nn.Sequential(block), config)
    return target


def test_targets_are_kohyas_in_its_order(unet, golden):
    targets = find_targets(unet, PLAIN)
    places = ("input_blocks_3_1", "middle_block_1")
    expected = [f"lora_unet_{place}_{name}" for place in places for name in TRANSFORMER]
    assert [target.key for target in targets] == expected
    assert len(expected) == TRANSFORMER_LAYERS
    recorded = json.loads((golden / "train" / "train.json").read_text())["network"]
    start = recorded["creation_order"].index("lora_unet_input_blocks_7_1_proj_in")
    of_one = recorded["creation_order"][start : start + len(TRANSFORMER)]
    assert of_one == [f"lora_unet_input_blocks_7_1_{name}" for name in TRANSFORMER]


def test_a_target_names_its_layer(unet):
    for target in find_targets(unet, CONV):
        assert unet.get_submodule(target.path) is target.module
        assert target.key == "lora_unet_" + target.path.replace(".", "_")


def test_conv_rank_adds_the_layers_of_resnets_and_samplers(unet):
    targets = find_targets(unet, CONV)
    plain = {target.key for target in find_targets(unet, PLAIN)}
    added = {target.key: target for target in targets if target.key not in plain}
    assert len(added) == CONV_LAYERS and len(targets) == CONV_LAYERS + TRANSFORMER_LAYERS
    sizes = {
        "lora_unet_input_blocks_2_0_op": (3, 1.5),
        "lora_unet_output_blocks_0_1_conv": (3, 1.5),
        "lora_unet_input_blocks_3_0_in_layers_2": (3, 1.5),
        "lora_unet_input_blocks_3_0_out_layers_3": (3, 1.5),
        "lora_unet_input_blocks_3_0_emb_layers_1": (4, 2.0),
        "lora_unet_input_blocks_3_0_skip_connection": (4, 2.0),
    }
    assert {key: (added[key].rank, added[key].alpha) for key in sizes} == sizes
    for target in targets:
        large = isinstance(target.module, nn.Conv2d) and target.module.kernel_size == (3, 3)
        assert (target.rank, target.alpha) == ((3, 1.5) if large else (4, 2.0))


@pytest.mark.parametrize("part", ["time_embed", "label_emb", "input_blocks_0_", "_out_2"])
def test_the_ends_of_the_unet_are_never_adapted(unet, part):
    assert not any(part in target.key for target in find_targets(unet, CONV))


def test_one_network_leaves_no_trace_for_the_next(unet):
    before = find_targets(unet, PLAIN)
    find_targets(unet, CONV)
    assert find_targets(unet, PLAIN) == before


def test_a_layer_inside_two_blocks_is_adapted_once():
    block = type("SpatialTransformer", (nn.Sequential,), {})
    nested = nn.Sequential(block(block(nn.Linear(3, 3))))
    assert [target.path for target in find_targets(nested, PLAIN)] == ["0.0.0"]


def test_a_3x3_convolution_of_a_transformer_needs_conv_rank():
    conv = nn.Conv2d(3, 3, 3)
    assert only(conv, CONV, "SpatialTransformer").rank == 3
    block = type("SpatialTransformer", (nn.Sequential,), {})(conv, nn.Conv2d(3, 3, 1))
    assert [t.path for t in find_targets(nn.Sequential(block), PLAIN)] == ["0.1"]


def test_a_model_without_transformers_is_refused():
    with pytest.raises(ValueError, match="Connect an SDXL model"):
        Network(find_targets(nn.Sequential(nn.Linear(2, 2)), PLAIN))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(5, 7), (2, 3, 5)),
        (nn.Conv2d(4, 6, 1), (2, 4, 5, 5)),
        (nn.Conv2d(4, 6, 3, padding=1), (2, 4, 5, 5)),
        (nn.Conv2d(4, 6, 3, stride=2, padding=1), (2, 4, 6, 8)),
        (nn.Conv2d(4, 6, (3, 5), dilation=2, padding=(2, 1)), (2, 4, 9, 9)),
    ],
    ids=str,
)
def test_the_adapter_is_the_layer_with_up_times_down_as_its_weight(layer, shape):
    target = only(layer)
    adapter = Lora(target, torch.device("cpu"))
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.normal_(generator=rng)
    x = torch.randn(shape, generator=rng)
    delta = (adapter.up.flatten(1) @ adapter.down.flatten(1)).view(layer.weight.shape)
    delta = delta * target.alpha / target.rank
    if isinstance(layer, nn.Linear):
        expected = F.linear(x, delta)
    else:
        expected = F.conv2d(x, delta, None, layer.stride, layer.padding, layer.dilation)
    torch.testing.assert_close(adapter(x), expected, rtol=1e-5, atol=1e-5)


def test_an_adapter_computes_in_the_dtype_of_its_input():
    adapter = Lora(only(nn.Linear(5, 7)), torch.device("cpu"))
    out = adapter(torch.randn(2, 5).bfloat16())
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert adapter.up.dtype == adapter.up.grad.dtype == torch.float32


@pytest.mark.parametrize("config", [PLAIN, CONV], ids=["plain", "conv"])
def test_before_the_first_step_nothing_is_changed(unet, config):
    with torch.no_grad():
        expected = unet(*make_inputs())
        with Attachment(leaf_plan(unet, network(unet, config), PlainWeights())):
            assert torch.equal(unet(*make_inputs()), expected)


def test_down_is_kaiming_uniform_and_up_zero(unet):
    for target, adapter in zip(
        find_targets(unet, CONV), network(unet, CONV).adapters.values(), strict=True
    ):
        fan_in = target.module.weight[0].numel()
        bound = 1 / math.sqrt(fan_in)
        assert not adapter.up.any()
        assert adapter.down[0].numel() == fan_in
        assert adapter.down.abs().max() <= bound
        spread = adapter.down.std() / (bound / math.sqrt(3))
        assert 1 - 6 / math.sqrt(adapter.down.numel()) < spread < 1.3
        assert adapter.down.abs().max() > 0.85 * bound


def test_the_start_is_a_function_of_seed_and_key(unet):
    first = network(unet, seed=1).state_dict()
    torch.manual_seed(torch.initial_seed() + 1)
    again = network(unet, seed=1).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    downs = {key: value for key, value in first.items() if key.endswith("lora_down.weight")}
    other = network(unet, seed=2).state_dict()
    assert not any(torch.equal(value, other[key]) for key, value in downs.items())
    squares = [value for value in downs.values() if value.shape == (4, 16)]
    assert len({tuple(value.flatten().tolist()) for value in squares}) == len(squares) > 10
    more = network(unet, CONV, seed=1).state_dict()
    assert all(torch.equal(value, more[key]) for key, value in downs.items())


def test_the_global_generator_is_not_touched(unet):
    before = torch.random.get_rng_state()
    network(unet)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_parameters_are_all_factors_and_want_gradients(unet):
    net = network(unet, CONV)
    parameters = net.parameters()
    assert len(parameters) == 2 * (TRANSFORMER_LAYERS + CONV_LAYERS)
    assert all(p.requires_grad and p.dtype == torch.float32 for p in parameters)
    assert len({p.data_ptr() for p in parameters}) == len(parameters)


def test_the_state_has_kohyas_keys_shapes_and_alphas(unet):
    state = network(unet, CONV).state_dict()
    key = "lora_unet_input_blocks_3_0_in_layers_2"
    assert state[f"{key}.lora_down.weight"].shape == (3, 8, 3, 3)
    assert state[f"{key}.lora_up.weight"].shape == (16, 3, 1, 1)
    assert state[f"{key}.alpha"].shape == () and state[f"{key}.alpha"] == 1.5
    key = "lora_unet_middle_block_1_transformer_blocks_0_attn2_to_k"
    assert state[f"{key}.lora_down.weight"].shape == (4, 12)
    assert state[f"{key}.lora_up.weight"].shape == (16, 4)
    assert state[f"{key}.alpha"] == 2.0
    assert len(state) == 3 * (TRANSFORMER_LAYERS + CONV_LAYERS)


def test_the_state_owns_its_contiguous_storages(unet):
    net = network(unet, CONV)
    state = net.state_dict()
    assert all(tensor.is_contiguous() and not tensor.requires_grad for tensor in state.values())
    assert len({tensor.untyped_storage().data_ptr() for tensor in state.values()}) == len(state)
    assert all(t.untyped_storage().nbytes() == t.nbytes for t in state.values())
    copies = {key: tensor.clone() for key, tensor in state.items()}
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(state[key], copies[key]) for key in state)


def test_a_state_loads_back(unet):
    source, sink = network(unet, CONV, seed=1), network(unet, CONV, seed=2)
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.normal_()
    sink.load(source.state_dict())
    pairs = zip(source.parameters(), sink.parameters(), strict=True)
    assert all(torch.equal(a, b) and a.data_ptr() != b.data_ptr() for a, b in pairs)


def test_a_state_that_does_not_fit_is_refused_untouched(unet):
    net = network(unet)
    before = net.state_dict()
    lacking = dict(before)
    lacking.pop("lora_unet_middle_block_1_proj_in.alpha")
    with pytest.raises(ValueError, match=r"1 keys are missing and 0 are unknown.*proj_in\.alpha"):
        net.load(lacking)
    with pytest.raises(ValueError, match="0 keys are missing and 1 are unknown"):
        net.load({**before, "lora_te1.alpha": torch.tensor(1.0)})
    with pytest.raises(ValueError, match=f"{3 * CONV_LAYERS} are unknown"):
        net.load(network(unet, CONV, seed=5).state_dict())
    after = net.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_state_of_another_alpha_is_refused(unet):
    state = network(unet).state_dict()
    key = next(name for name in state if name.endswith(".alpha"))
    state[key] = state[key] * 2
    with pytest.raises(ValueError, match="alphas differ"):
        network(unet).load(state)


@pytest.mark.parametrize("rank", [1, 2])
def test_a_state_of_another_rank_is_refused(unet, rank):
    net = network(unet)
    other = network(unet, LoraConfig(rank=rank, alpha=2.0), seed=9).state_dict()
    before = net.state_dict()
    with pytest.raises(ValueError, match="shape"):
        net.load(other)
    after = net.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_target_is_made_of_any_layer_that_says_its_features():
    class Quantised(nn.Module):
        in_features, out_features, comfy_cast_weights = 3, 5, True

    target = only(Quantised(), PLAIN, "SpatialTransformer")
    assert isinstance(target, Target)
    adapter = Lora(target, torch.device("cpu"))
    assert (adapter.down.shape, adapter.up.shape) == ((4, 3), (5, 4))
