import math

import pytest
import torch

from pack.trainer.lora_tools.extract import extract
from pack.trainer.lora_tools.resize import Size, relative_error


def noise(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(300, 200), (60, 20, 3, 3), (24, 16)])
def test_a_planted_change_is_found_whole(shape):
    """Of rank 5, in large matrices by the randomised SVD and in small ones by the whole one."""
    columns = math.prod(shape[1:])
    planted = (noise(1, shape[0], 5) @ noise(2, 5, columns)).reshape(shape)
    kept = extract(planted, Size(8, energy=1 - 1e-6, conv_rank=8), "layer")
    assert kept.layer.rank == 5 and kept.layer.change().shape == shape
    assert float((kept.layer.change() - planted).norm() / planted.norm()) < 1e-5
    assert relative_error(kept.lost, kept.energy) < 1e-5


@pytest.mark.parametrize("seed", range(4))
def test_the_randomised_svd_is_as_good_as_the_whole_one(seed):
    """A spectrum that falls slowly, as real differences do: the error is the least that the rank allows,
    within a part in a thousand, for every draw; and what is said to be lost is what is lost."""
    u = torch.linalg.qr(noise(seed, 300, 200))[0]
    v = torch.linalg.qr(noise(seed + 9, 200, 200))[0]
    values = torch.arange(1, 201.0) ** -0.5
    change = (u * values) @ v
    kept = extract(change, Size(16), f"layer {seed}")
    lost = float((kept.layer.change() - change).norm())
    least = float((values[16:] ** 2).sum().sqrt())
    assert least <= lost * (1 + 1e-5) and lost <= 1.001 * least
    assert math.sqrt(kept.lost) == pytest.approx(lost, rel=1e-4)
    again = extract(change, Size(16), f"layer {seed}")
    assert torch.equal(again.layer.up, kept.layer.up)


def test_nothing_changed_is_no_layer_and_torchs_draws_stay():
    assert extract(torch.zeros(8, 8), Size(2), "layer") is None
    before = torch.get_rng_state()
    extract(noise(3, 300, 200), Size(4), "layer")
    assert torch.equal(torch.get_rng_state(), before)
