import math

import pytest
import torch

from pack.tests.trainer.lora_tools.loras import CONV, MIDDLE, TEXT, Q, change, lora
from pack.trainer.lora_tools.factors import as_tensors, read_factors
from pack.trainer.lora_tools.merge import is_nothing, merge
from pack.trainer.lora_tools.resize import Size, resize

ONE = lora(1, rank=4, alpha=2.0, stems=(Q, CONV, TEXT))
OTHER = lora(2, rank=3, alpha=6.0, stems=(Q, CONV, MIDDLE))


def test_it_is_the_sum_with_other_ranks_alphas_and_layers():
    made = merge([(read_factors(ONE), 0.7), (read_factors(OTHER), -0.4)])
    tensors = as_tensors(made)
    for stem, rank in {Q: 7, CONV: 7, TEXT: 4, MIDDLE: 3}.items():
        parts = [(ONE, 0.7), (OTHER, -0.4)]
        expected = sum(s * change(t, stem) for t, s in parts if f"{stem}.alpha" in t)
        assert made[stem].rank == rank
        assert torch.allclose(change(tensors, stem), expected, atol=1e-5)
    assert made.keys() == {Q, CONV, TEXT, MIDDLE}


@pytest.mark.parametrize(("first", "second"), [(0.5, 0.5), (0.8, 0.4)])
def test_one_with_itself_has_the_sum_of_strengths_and_its_own_rank_again(first, second):
    layers = read_factors(ONE)
    made = merge([(layers, first), (layers, second)])
    smaller = resize(made, Size(4))
    for stem, kept in smaller.items():
        expected = (first + second) * change(ONE, stem)
        assert torch.allclose(change(as_tensors({stem: kept.layer}), stem), expected, atol=1e-4)
        assert kept.lost <= 1e-12 * kept.energy and made[stem].rank == 8


def test_strength_0_takes_a_lora_out_and_one_alone_keeps_its_factors():
    made = merge([(read_factors(ONE), 1.0), (read_factors(OTHER), 0.0)])
    assert as_tensors(made).keys() == ONE.keys()
    assert all(torch.equal(tensor, ONE[name]) for name, tensor in as_tensors(made).items())


def test_what_cannot_be_merged_is_said():
    layers = read_factors(ONE)
    with pytest.raises(ValueError, match="All strengths are 0"):
        merge([(layers, 0.0), (layers, 0.0)])
    with pytest.raises(ValueError, match="not finite"):
        merge([(layers, math.nan)])
    other = read_factors(ONE | {f"{Q}.lora_down.weight": torch.ones(4, 30)})
    with pytest.raises(ValueError, match=f"{Q} changes a weight of 12 x 20 and 12 x 30"):
        merge([(layers, 1.0), (other, 1.0)])


@pytest.mark.parametrize(
    ("strengths", "nothing"), [((1, -1), True), ((0.3, -0.3), True), ((1, -0.999), False)]
)
def test_changes_that_cancel_out_are_nothing(strengths, nothing):
    loras = [(read_factors(ONE), strength) for strength in strengths]
    assert is_nothing(loras, merge(loras)) is nothing
