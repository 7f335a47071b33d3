"""kohya's variations on noise; its recorded numbers are in tests/replay/test_losses.py."""

import pytest
import torch

from pack.trainer.config.loss import LossConfig
from pack.trainer.training.noise import draw_timestep, multires_noise, offset_noise


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
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, word):
    with pytest.raises(ValueError, match=word):
        LossConfig(**settings)
