"""kohya's variations on noise; its recorded numbers are in tests/replay/test_losses.py."""

import math

import pytest
import torch

from pack.tests.trainer.tiny_cache import FINGERPRINT, make_cache, make_item
from pack.trainer.batches.plan import BatchItem
from pack.trainer.batches.training_data import TrainingData
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.training.noise import draw_timestep, multires_noise, nearest, offset_noise
from pack.trainer.training.step import draw


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def test_noise_offset_shifts_whole_channels():
    rng = generator()
    noise, shift = torch.randn(2, 4, 3, 3, generator=rng), torch.randn(2, 4, 1, 1, generator=rng)
    moved = offset_noise(noise, 0.1, shift) - noise
    for row in range(2):
        for channel in range(4):
            expected = 0.1 * float(shift[row, channel])
            assert moved[row, channel].flatten().tolist() == pytest.approx([expected] * 9, abs=1e-6)


def test_an_adaptive_offset_follows_the_mean_of_each_channel_and_stays_above_nothing():
    latents = torch.zeros(1, 2, 2, 2)
    latents[0, 0], latents[0, 1] = -3.0, 0.5
    noise, shift = torch.zeros(1, 2, 2, 2), torch.ones(1, 2, 1, 1)
    grown = offset_noise(noise, 0.1, shift, latents, 0.2)
    assert grown[0, :, 0, 0].tolist() == pytest.approx([0.1 + 0.6, 0.1 + 0.1])
    shrunk = offset_noise(noise, 0.1, shift, latents, -0.1)
    assert shrunk[0, :, 0, 0].tolist() == pytest.approx([0.0, 0.05])


def test_coarse_noise_has_long_waves_and_unit_deviation():
    rng = generator()

    def normal(shape):
        return torch.randn(shape, generator=rng)

    plain = normal((1, 4, 64, 64))
    mixed = multires_noise(plain, 6, 0.9, lambda: 0.0, normal)
    assert float(mixed.std()) == pytest.approx(1.0, abs=1e-5)
    neighbours = [float((n[..., 1:] * n[..., :-1]).mean()) for n in (plain, mixed)]
    assert abs(neighbours[0]) < 0.05 and neighbours[1] > 0.3


def test_the_pyramid_ends_where_a_side_is_one_pixel():
    sizes = []

    def normal(shape):
        sizes.append(tuple(shape[-2:]))
        return torch.zeros(shape)

    noise = torch.randn(1, 4, 8, 16, generator=generator())
    multires_noise(noise, 10, 0.3, lambda: 0.0, normal)
    assert sizes == [(8, 16), (4, 8), (2, 4), (1, 2)]
    sizes.clear()
    multires_noise(noise, 2, 0.3, lambda: 1.0, normal)
    assert sizes == [(8, 16), (2, 4)]


def test_timesteps_lie_in_their_range():
    rng = generator()
    drawn = {int(draw_timestep(7, 10, rng)) for _ in range(200)}
    assert drawn == {7, 8, 9}
    assert int(draw_timestep(10, 10, rng)) == 10


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"adaptive_noise_scale": 0.1}, "noise_offset"),
        ({"noise_offset": -1.0}, "noise_offset is -1"),
        ({"multires_iterations": -1}, "multires_iterations"),
        ({"multires_discount": 0.0}, "multires_discount"),
        ({"ip_noise_gamma": -0.1}, "ip_noise_gamma"),
        ({"min_timestep": 500, "max_timestep": 500}, "timesteps are 500 to 500"),
        ({"max_timestep": 1001}, "timesteps are 0 to 1001"),
        ({"min_timestep": -1}, "timesteps are -1"),
        ({"timestep_sampling": "normal"}, "one of uniform, sigmoid, beta, laplace"),
        ({"timestep_location": 11.0}, "timestep_location is 11"),
        ({"timestep_scale": 0.0}, "timestep_scale is 0"),
        ({"immiscible": 1}, "immiscible is 1; it must be 0 or lie in 2..64"),
        ({"discrete_flow_shift": -1.0}, "discrete_flow_shift is -1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, word):
    with pytest.raises(ValueError, match=word):
        LossConfig(**settings)


def test_the_nearest_noise_is_nearer_than_any_and_leans_towards_the_latent():
    """For a latent far away only the direction counts: the largest of k normal numbers along it.

    That of 2 has the mean 1 / sqrt(pi) and the variance 1 - 1 / pi; across it nothing changes.
    """
    rng = generator(4)
    latent = 1000.0 * torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 4, 1, 1)
    chosen = []
    for _ in range(4000):
        noises = torch.randn(2, 4, 1, 1, generator=rng)
        found = nearest(noises, latent)
        assert float((found - latent).norm()) == float(
            (noises - latent).flatten(1).norm(dim=1).min()
        )
        chosen.append(found.flatten())
    along, across = torch.stack(chosen)[:, 0], torch.stack(chosen)[:, 1:]
    assert float(along.mean()) == pytest.approx(math.pi**-0.5, abs=5 / 4000**0.5)
    assert float(along.var()) == pytest.approx(1 - 1 / math.pi, abs=0.08)
    assert abs(float(across.mean())) < 5 / 12000**0.5
    assert float(across.var()) == pytest.approx(1, abs=5 * (2 / 12000) ** 0.5)


def test_how_far_the_nearest_noise_is_from_normal_in_a_latent_of_real_size():
    """64 by 64 and four noises: its length falls by less than 1 %, its mean along the latent by about one."""
    rng = generator(5)
    latent = torch.randn(1, 4, 64, 64, generator=rng)
    unit, numbers = latent / latent.norm(), latent.numel()
    found = [nearest(torch.randn(4, 4, 64, 64, generator=rng), latent) for _ in range(100)]
    along = sum(float((noise * unit).sum()) for noise in found) / 100
    length = sum(float(noise.square().mean()) for noise in found) / 100
    assert 0.3 < along < 1.5
    assert 0.985 < length < 1 - 1 / numbers**0.5


def test_immiscible_draws_are_nearer_than_plain_ones_and_plain_ones_are_as_before(tmp_path):
    data = TrainingData(make_cache(tmp_path, *map(make_item, range(4))), FINGERPRINT)
    batch = data.load([BatchItem(number, 0, False) for number in range(4)])

    def drawn(number):
        config = TrainConfig(loss=LossConfig(immiscible=number))
        return [draw(batch, config, epoch, 1000) for epoch in range(40)]

    def distance(draws):
        return sum(float((one.noise - batch.latents).square().mean()) for one in draws) / len(draws)

    plain, two, many = drawn(0), drawn(2), drawn(16)
    assert distance(many) < distance(two) < distance(plain)
    assert all(torch.equal(a.timesteps, b.timesteps) for a, b in zip(plain, many, strict=True))
