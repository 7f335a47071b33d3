import pytest
import torch

from pack.tests.trainer.lora_tools.loras import CONV, MIDDLE, Q, change, lora, stems
from pack.trainer.lora_tools.factors import as_tensors, is_plain, read_factors


def test_factors_are_the_lora_and_become_it_again():
    tensors = lora()
    layers = read_factors(tensors)
    assert [*layers] == stems(tensors) and is_plain(tensors)
    assert [layers[stem].is_conv for stem in (Q, CONV, MIDDLE)] == [False, True, False]
    for stem, layer in layers.items():
        assert torch.allclose(layer.change().double(), change(tensors, stem), atol=1e-5)
        energy = float((change(tensors, stem) ** 2).sum())
        assert layer.energy() == pytest.approx(energy, rel=1e-6)
    again = as_tensors(layers)
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)


def test_a_missing_alpha_is_no_scale_and_a_core_is_written_out():
    """LyCORIS: the weight is sum over i, j of up[o, i] mid[i, j, x, y] down[j, c]."""
    up, mid, down = torch.randn(10, 3, 1, 1), torch.randn(3, 4, 3, 3), torch.randn(4, 6, 1, 1)
    tensors = {
        f"{CONV}.lora_up.weight": up,
        f"{CONV}.lora_mid.weight": mid,
        f"{CONV}.lora_down.weight": down,
        f"{CONV}.alpha": torch.tensor(8.0),
    }
    whole = torch.einsum("oi,ijxy,jc->ocxy", up[..., 0, 0], mid, down[..., 0, 0])
    layer = read_factors(tensors)[CONV]
    assert torch.allclose(layer.change(), 8 / 4 * whole, atol=1e-4) and layer.rank == 3
    del tensors[f"{CONV}.alpha"]
    assert torch.allclose(read_factors(tensors)[CONV].change(), whole, atol=1e-4)


@pytest.mark.parametrize(
    ("change_it", "words"),
    [
        (lambda t: t.update({f"{Q}.dora_scale": torch.ones(12, 1)}), "1 of 4 layers are no plain LoRA.*dora_scale"),
        (lambda t: t.update({f"{Q}.hada_w1_a": torch.ones(12, 1)}), "but LoHa, e.g..*hada_w1_a.*Take a plain LoRA"),
        (lambda t: t.update({f"{Q}.oft_blocks": torch.ones(2, 4, 4)}), "but OFT or BOFT, e.g."),
        (lambda t: t.update({f"{Q}.diff": torch.ones(12, 12)}), "but differences of whole weights.*Extract LoRA"),
        (lambda t: t.pop(f"{Q}.lora_up.weight"), f"not whole: {Q} has no lora_up.weight"),
        (lambda t: t.update({f"{Q}.lora_up.weight": torch.ones(12, 3)}), "ranks 3 and 4 fit nothing"),
        (lambda t: t[f"{Q}.lora_up.weight"].fill_(torch.nan), f"{Q} holds numbers that are not finite"),
        (lambda t: t[f"{Q}.alpha"].fill_(torch.inf), f"{Q} holds numbers that are not finite"),
    ],
)  # fmt: skip
def test_other_kinds_and_damaged_files_are_refused(change_it, words):
    tensors = lora()
    change_it(tensors)
    with pytest.raises(ValueError, match=words):
        read_factors(tensors)


def test_alphas_alone_are_no_lora():
    with pytest.raises(ValueError, match="no layer with factors"):
        read_factors({f"{Q}.alpha": torch.tensor(1.0)})
