import torch

from pack.tests.trainer.lora_tools.loras import MIDDLE, TEXT, Q, lora
from pack.trainer.lora_tools.factors import as_tensors, read_factors
from pack.trainer.lora_tools.report import block_table, error_text, size_text
from pack.trainer.lora_tools.resize import Size, resize
from pack.trainer.lora_tools.scale_blocks import parse_blocks


def test_the_size_is_counted():
    tensors = lora(rank=4, stems=(Q, TEXT))
    numbers = 4 * (12 + 20) + 4 * (14 + 9) + 2
    assert size_text(tensors) == f"rank 4, 2 layers, {2 * numbers / 1e6:.1f} MB"
    tensors |= lora(rank=1, stems=(MIDDLE,))
    assert size_text(tensors).startswith("rank 1 to 4 (mean 3.0), 3 layers")
    assert size_text({f"{Q}.lokr_w1": torch.ones(2, 2)}).startswith("no rank, 1 layers")


def test_the_error_is_of_all_layers_and_names_the_worst():
    """Two layers of known singular values, 3 and 4 in one, 12 and 0 in the other."""
    one = {
        f"{stem}.{part}": tensor
        for stem, values in {Q: (4.0, 3.0), TEXT: (12.0, 0.0)}.items()
        for part, tensor in {
            "lora_up.weight": torch.diag(torch.tensor(values)),
            "lora_down.weight": torch.eye(2),
            "alpha": torch.tensor(2.0),
        }.items()
    }
    text = error_text(resize(read_factors(one), Size(1)), "how")
    nothing = {name: tensor * 0 for name, tensor in one.items() if "alpha" not in name}
    said = error_text(resize(read_factors(nothing), Size(1)), "how")
    assert said.startswith("The LoRA changes nothing") and "off" not in said
    assert "23.08 % off" in text and f"most in {Q}: 60.00 %" in text and "how" in text


def test_the_table_has_shares_of_the_change():
    layers = read_factors(lora(stems=(Q, TEXT, MIDDLE)))
    layers = {stem: layer.times(weight / layer.energy() ** 0.5) for (stem, layer), weight in zip(layers.items(), (3.0, 4.0, 0.0), strict=True)}  # fmt: skip
    lines = block_table(as_tensors(layers), {"MID": 0.5}).split("\n")
    assert lines[1:] == [
        "TE1: 1 layers   36.0 %  x 1",
        "IN4: 1 layers   64.0 %  x 1",
        "MID: 1 layers    0.0 %  x 0.5",
    ]
    absent = block_table(as_tensors(layers), {"IN4": 0.5, "OUT1": 0.25, "TE2": 1.0}).split("\n")
    assert absent[-1] == "without effect, for the LoRA has no layer there: OUT1=0.25"
    assert "without" not in block_table(as_tensors(layers), parse_blocks("ALL=0.5"))
    odd = block_table({f"{Q}.hada_w1_a": torch.ones(2, 2)}, {})
    assert odd.split("\n")[1] == "IN4: 1 layers  x 1"
