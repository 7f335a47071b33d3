import pytest
import torch

from pack.tests.trainer.lora_tools.loras import CONV, MIDDLE, TEXT, Q, change, lora, stems
from pack.trainer.lora_tools.scale_blocks import (
    BLOCKS,
    LONGEST,
    block_name,
    parse_blocks,
    scale_blocks,
)


def test_layers_lie_in_the_blocks_that_users_name():
    names = {
        Q: "IN4", CONV: "OUT1", MIDDLE: "MID", TEXT: "TE1",
        "lora_te2_text_model_encoder_layers_31_mlp_fc2": "TE2",
        "lora_unet_input_blocks_8_1_proj_in": "IN8",
        "lora_unet_output_blocks_0_1_proj_out": "OUT0",
        "lora_unet_output_blocks_8_0_in_layers_2": "OUT8",
        "lora_unet_middle_block_2_out_layers_3": "MID",
        "lora_unet_time_embed_0": "REST",
        "lora_unet_out_2": "REST",
    }  # fmt: skip
    assert {stem: block_name(stem) for stem in names} == names


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("IN4=0.5, OUT0-2=0;te=1.5", {"IN4": 0.5, "OUT0": 0, "OUT1": 0, "OUT2": 0, "TE1": 1.5, "TE2": 1.5}),
        ("all=0\nout1=1", {**dict.fromkeys([*BLOCKS, "REST"], 0.0), "OUT1": 1.0}),
        ("IN04 = -1, OUT07-OUT08=2", {"IN4": -1.0, "OUT7": 2.0, "OUT8": 2.0}),
        ("BASE=0,TE2=1", {"TE1": 0.0, "TE2": 1.0}),
    ],
)  # fmt: skip
def test_names_and_numbers(text, found):
    assert parse_blocks(text) == found


def test_kohyas_lists():
    short = parse_blocks("[1,2,3,4,5,6,7,8,9,10,11,12]")
    assert [short[name] for name in ("TE1", "IN4", "IN5", "IN7", "IN8", "MID", "OUT0", "OUT5")] == [
        1, 2, 3, 4, 5, 6, 7, 12,
    ]  # fmt: skip
    long = parse_blocks(",".join(map(str, range(20))))
    assert (long["TE2"], long["IN0"], long["IN8"], long["MID"], long["OUT0"], long["OUT8"]) == (
        0, 1, 9, 10, 11, 19,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("IN9=1", "names 'IN9', which is no block of SDXL"),
        ("OUT5-2=1", "no block of SDXL"),
        ("IN4=half", "'IN4=half'; write a name and a number"),
        ("IN4=nan", "write a name and a number"),
        ("1,1,1", "has 3 numbers without names"),
        (",".join("1" * 17), "17 and 26 are of SD 1"),
        ("IN4", "without names"),
        (" " * (LONGEST + 1), "more than 1000 characters"),
    ],
)
def test_what_is_neither_is_said(text, words):
    with pytest.raises(ValueError, match=words):
        parse_blocks(text)


def test_each_layer_is_scaled_by_its_block_and_0_takes_it_out():
    tensors = lora()
    made = scale_blocks(tensors, {"IN4": 0.5, "MID": 0.0, "TE1": -1.0})
    assert stems(made) == sorted({Q, CONV, TEXT})
    for stem, factor in {Q: 0.5, CONV: 1.0, TEXT: -1.0}.items():
        assert torch.allclose(change(made, stem), factor * change(tensors, stem))
    assert made[f"{CONV}.lora_up.weight"] is tensors[f"{CONV}.lora_up.weight"]
    with pytest.raises(ValueError, match="nothing is left"):
        scale_blocks(tensors, parse_blocks("all=0"))


@pytest.mark.parametrize("algorithm", ["loha", "lokr"])
def test_loha_and_lokr_are_scaled_as_exactly(algorithm):
    """Each is a product that is linear in its first part."""
    a, b, c, d = (torch.randn(3, 3) for _ in range(4))
    if algorithm == "loha":
        parts = {"hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": c, "hada_w2_b": d}
        whole = lambda p: (p["hada_w1_a"] @ p["hada_w1_b"]) * (p["hada_w2_a"] @ p["hada_w2_b"])  # noqa: E731
    else:
        parts = {"lokr_w1_a": a, "lokr_w1_b": b, "lokr_w2": c}
        whole = lambda p: torch.kron(p["lokr_w1_a"] @ p["lokr_w1_b"], p["lokr_w2"])  # noqa: E731
    made = scale_blocks({f"{Q}.{part}": tensor for part, tensor in parts.items()}, {"IN4": 0.3})
    found = {name.removeprefix(f"{Q}."): tensor for name, tensor in made.items()}
    assert torch.allclose(whole(found), 0.3 * whole(parts), atol=1e-5)


def test_a_dora_is_refused_unless_its_block_stays_or_goes():
    tensors = lora() | {f"{Q}.dora_scale": torch.ones(12, 1)}
    with pytest.raises(ValueError, match=r"dora_scale.*cannot be made weaker"):
        scale_blocks(tensors, {"IN4": 0.5})
    assert scale_blocks(tensors, {"MID": 0.5}).keys() == tensors.keys()
    assert Q not in stems(scale_blocks(tensors, {"IN4": 0.0}))


@pytest.mark.parametrize("blocks", [{}, {"IN4": 0.5}])
def test_numbers_that_are_not_finite_are_refused_with_the_layer(blocks):
    broken = lora()
    broken[f"{Q}.lora_up.weight"][0, 0] = torch.inf
    with pytest.raises(ValueError, match=f"{Q} holds numbers that are not finite"):
        scale_blocks(broken, blocks)
    scale_blocks(broken, {block_name(Q): 0.0})  # taken out
