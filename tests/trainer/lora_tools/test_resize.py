import math

import pytest
import torch

from pack.tests.trainer.lora_tools.loras import CONV, Q, change, lora
from pack.trainer.lora_tools.factors import as_tensors, read_factors
from pack.trainer.lora_tools.resize import Size, relative_error, resize


def best(whole, rank):
    """The nearest matrix of that rank, by the whole SVD in float64."""
    u, s, vh = torch.linalg.svd(whole.flatten(1), full_matrices=False)
    return ((u[:, :rank] * s[:rank]) @ vh[:rank]).reshape(whole.shape)


@pytest.mark.parametrize("size", [Size(3), Size(5, conv_rank=2), Size(1)])
def test_it_is_the_nearest_of_that_rank_and_says_how_far_it_is_off(size):
    tensors = lora(rank=6, alpha=4.0, fade=0.7)
    for stem, kept in resize(read_factors(tensors), size).items():
        whole, made = change(tensors, stem), change(as_tensors({stem: kept.layer}), stem)
        rank = size.conv_rank or size.rank if stem == CONV else size.rank
        assert kept.layer.rank == rank and kept.layer.scale == pytest.approx(4 / 6)
        assert torch.allclose(made, best(whole, rank), atol=1e-5)
        off = float((made - whole).norm() / whole.norm())
        assert relative_error(kept.lost, kept.energy) == pytest.approx(off, rel=1e-4)


def test_a_rank_that_was_planted_is_found():
    """A LoRA of rank 6 that is 3 strong directions and noise of one part in ten thousand."""
    tensors = lora(rank=6)
    for name in tensors:
        if "lora_up" in name:
            tensors[name][:, 3:] *= 1e-4
    found = resize(read_factors(tensors), Size(6, energy=0.9999))
    assert [kept.layer.rank for kept in found.values()] == [3] * 4
    assert all(relative_error(kept.lost, kept.energy) < 1e-3 for kept in found.values())


@pytest.mark.parametrize("energy", [0.5, 0.8, 0.95])
def test_each_layer_keeps_the_fewest_that_hold_the_share(energy):
    tensors = lora(rank=6, fade=0.6)
    for stem, kept in resize(read_factors(tensors), Size(6, energy=energy)).items():
        squares = torch.linalg.svdvals(change(tensors, stem).flatten(1)) ** 2
        reached = torch.cumsum(squares, 0) / squares.sum()
        assert reached[kept.layer.rank - 1] >= energy
        assert kept.layer.rank == 1 or reached[kept.layer.rank - 2] < energy
    assert resize(read_factors(tensors), Size(2, energy=0.999))[Q].layer.rank == 2


def test_what_fits_stays_bit_for_bit_and_nothing_becomes_larger():
    layers = read_factors(lora(rank=4))
    assert all(kept.layer is layers[stem] for stem, kept in resize(layers, Size(9)).items())
    zero = read_factors(lora(rank=4) | {f"{Q}.lora_up.weight": torch.zeros(12, 4)})
    kept = resize(zero, Size(4, energy=0.9))[Q]
    assert kept.layer.rank == 1 and kept.lost == 0 and relative_error(0.0, 0.0) == 0


def test_it_can_be_stopped_at_any_layer():
    def stop(done):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resize(read_factors(lora()), Size(2), stop)


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"rank": 4, "energy": 0.0}, {"rank": 4, "energy": 1.1}, {"rank": 4, "energy": math.nan}, {"rank": 4, "conv_rank": -1}])  # fmt: skip
def test_sizes_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match=r"rank of 1 or more|a share above 0"):
        Size(**wrong)
