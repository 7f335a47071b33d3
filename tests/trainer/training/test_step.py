import dataclasses

import pytest
import torch

from pack.tests.trainer.tiny_cache import FINGERPRINT, make_cache, make_item
from pack.tests.trainer.tiny_unet import CONTEXT, Y, make_model, make_unet
from pack.trainer.batches.plan import BatchItem
from pack.trainer.batches.training_data import TrainingData
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.sdxl.schedule import Schedule
from pack.trainer.training.step import Draws, Model, draw, sample_losses

CONFIG = TrainConfig(seed=5)
ITEMS = [BatchItem(number, 0, False) for number in range(4)]


@pytest.fixture
def data(tmp_path):
    return TrainingData(make_cache(tmp_path, *map(make_item, range(4))), FINGERPRINT)


def rows(draws):
    pairs = zip(draws.noise, draws.timesteps, strict=True)
    return [(n.flatten().tolist(), int(t)) for n, t in pairs]


def test_a_draw_is_a_function_of_seed_epoch_and_sample(data):
    batch = data.load(ITEMS)
    first = rows(draw(batch, CONFIG, 0, 1000))
    torch.rand(3)
    assert rows(draw(batch, CONFIG, 0, 1000)) == first
    alone = [rows(draw(data.load([item]), CONFIG, 0, 1000))[0] for item in ITEMS[::-1]]
    assert alone[::-1] == first
    others = [
        draw(batch, CONFIG, 1, 1000),
        draw(batch, dataclasses.replace(CONFIG, seed=6), 0, 1000),
        draw(data.load([i._replace(repeat=1) for i in ITEMS]), CONFIG, 0, 1000),
    ]
    noises = [noise for draws in (first, *map(rows, others)) for noise, _ in draws]
    assert len({tuple(noise) for noise in noises}) == 16


def test_a_mirrored_picture_is_drawn_for_like_the_plain_one(data):
    plain, flipped = data.load(ITEMS), data.load([i._replace(flipped=True) for i in ITEMS])
    assert rows(draw(plain, CONFIG, 0, 1000)) == rows(draw(flipped, CONFIG, 0, 1000))


def test_the_global_generator_is_not_touched(data):
    before = torch.random.get_rng_state()
    draw(data.load(ITEMS), CONFIG, 0, 1000)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_noise_is_standard_normal_and_timesteps_are_uniform(data):
    batch = data.load(ITEMS)
    draws = [draw(batch, CONFIG, epoch, 10) for epoch in range(250)]
    noise = torch.cat([d.noise.flatten() for d in draws])
    assert abs(float(noise.mean())) < 5 / len(noise) ** 0.5
    assert abs(float(noise.std()) - 1) < 5 / (2 * len(noise)) ** 0.5
    counts = torch.cat([d.timesteps for d in draws]).bincount(minlength=10)
    assert len(counts) == 10 and int(counts.min()) > 50 and int(counts.max()) < 150


def test_noise_offset_moves_the_noise_of_whole_channels(data):
    batch = data.load(ITEMS)
    config = dataclasses.replace(CONFIG, loss=LossConfig(noise_offset=0.1))
    plain, moved = draw(batch, CONFIG, 0, 1000), draw(batch, config, 0, 1000)
    assert torch.equal(plain.timesteps, moved.timesteps)
    shift = (moved.noise - plain.noise) / 0.1
    assert float((shift - shift.mean((2, 3), keepdim=True)).abs().max()) < 1e-5
    per_channel = shift.mean((2, 3)).flatten()
    assert len(set(per_channel.tolist())) == 16 and 0.4 < float(per_channel.std()) < 1.8


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_the_loss_is_that_of_the_models_answer_to_the_noisy_latents(data, prediction):
    batch, draws = data.load(ITEMS), draw(data.load(ITEMS), CONFIG, 0, 1000)
    model = make_model(make_unet(), prediction)
    ours = sample_losses(model, batch, draws, LossConfig())
    for row, timestep in enumerate(draws.timesteps.tolist()):
        ac = float(model.schedule.alphas_cumprod[timestep])
        x0, noise = batch.latents[row], draws.noise[row]
        noisy = ac**0.5 * x0 + (1 - ac) ** 0.5 * noise
        target = noise if prediction == "epsilon" else ac**0.5 * noise - (1 - ac) ** 0.5 * x0
        with torch.no_grad():
            answer = model.predict(
                noisy[None], torch.tensor([float(timestep)]), batch.context[[row]], batch.y[[row]]
            )
        expected = float(((answer[0] - target) ** 2).mean() * batch.weights[row])
        assert float(ours[row]) == pytest.approx(expected, rel=1e-5)


def test_weights_mask_and_known_noisy_latents_are_used(data):
    batch, draws = data.load(ITEMS), draw(data.load(ITEMS), CONFIG, 0, 1000)
    model = make_model(make_unet())
    plain = sample_losses(model, batch, draws, LossConfig())
    weights = torch.tensor([1.0, 0.0, 2.0, 0.5])
    weighed = dataclasses.replace(batch, weights=weights)
    assert torch.equal(sample_losses(model, weighed, draws, LossConfig()), plain * weights)
    masked = dataclasses.replace(batch, mask=torch.full((4, 64, 64), 0.5))
    half = sample_losses(model, masked, draws, LossConfig())
    torch.testing.assert_close(half, plain / 2)
    known = model.schedule.noisy(batch.latents, draws.noise, draws.timesteps)
    assert torch.equal(sample_losses(model, batch, draws, LossConfig(), noisy=known), plain)
    other = sample_losses(model, batch, draws, LossConfig(), noisy=known + 1)
    assert not torch.allclose(other, plain)


def test_the_model_computes_in_its_dtype_and_the_loss_in_float32(data):
    seen = []

    def predict(x, timesteps, context, y):
        seen.append((x.dtype, timesteps.dtype, context.dtype, y.dtype))
        assert (context.shape[-1], y.shape[-1]) == (CONTEXT, Y)
        return x

    model = Model(predict, Schedule.sdxl(), torch.device("cpu"), torch.float16)
    batch = data.load(ITEMS)
    draws = Draws(torch.zeros_like(batch.latents), torch.full((4,), 999))
    losses = sample_losses(model, batch, draws, LossConfig())
    assert seen == [(torch.float16, torch.float32, torch.float16, torch.float16)]
    assert losses.dtype == torch.float32


def drawn(data, **settings):
    config = dataclasses.replace(CONFIG, loss=LossConfig(**settings))
    return draw(data.load(ITEMS), config, 0, 1000)


def test_noise_settings_change_what_they_say_and_nothing_else(data):
    plain = drawn(data)
    assert plain.perturbed is None
    offset, weaker = (
        drawn(data, noise_offset=0.5),
        drawn(data, noise_offset=0.5, noise_offset_random_strength=True),
    )
    for row in range(4):
        shifts = (offset.noise - plain.noise)[row].flatten(1)
        assert (shifts - shifts[:, :1]).abs().max() < 1e-6 and shifts.abs().max() > 0.05
        factor = (weaker.noise - plain.noise)[row].flatten(1)[:, 0] / shifts[:, 0]
        assert 0 < factor[0] < 1 and (factor - factor[0]).abs().max() < 1e-4
    pyramid = drawn(data, multires_iterations=6)
    deviations = pyramid.noise.flatten(1).std(dim=1)
    assert (deviations - 1).abs().max() < 1e-5 and not torch.equal(pyramid.noise, plain.noise)
    for other in (offset, weaker, pyramid):
        assert torch.equal(other.timesteps, plain.timesteps)


def test_an_adaptive_offset_reads_the_latents_of_its_sample(data):
    latents = data.load(ITEMS).latents
    plain, fixed = drawn(data), drawn(data, noise_offset=0.5)
    adaptive = drawn(data, noise_offset=0.5, adaptive_noise_scale=1.0)
    ratio = (adaptive.noise - plain.noise) / (fixed.noise - plain.noise)
    expected = (0.5 + latents.mean(dim=(2, 3)).abs()) / 0.5
    torch.testing.assert_close(ratio.mean(dim=(2, 3)), expected, rtol=1e-3, atol=1e-3)


def test_input_perturbation_adds_noise_that_the_target_does_not_know(data):
    plain = drawn(data)
    more = drawn(data, ip_noise_gamma=0.25)
    assert torch.equal(more.noise, plain.noise)
    added = (more.perturbed - more.noise) / 0.25
    assert abs(float(added.std()) - 1) < 0.1 and abs(float(added.mean())) < 0.15
    weaker = drawn(data, ip_noise_gamma=0.25, ip_noise_gamma_random_strength=True)
    strengths = [float(row.std()) / 0.25 for row in weaker.perturbed - weaker.noise]
    assert all(0 < strength < 1.2 for strength in strengths) and len(set(strengths)) == 4


def test_the_perturbed_noise_is_what_the_model_sees(data):
    batch, seen = data.load(ITEMS), []
    schedule = Schedule.sdxl()

    def predict(x, *_):
        seen.append(x)
        return torch.zeros_like(x)

    model = Model(predict, schedule, torch.device("cpu"), torch.float32)
    draws = drawn(data, ip_noise_gamma=0.5)
    losses = sample_losses(model, batch, draws, LossConfig())
    expected = schedule.noisy(batch.latents, draws.perturbed, draws.timesteps)
    assert torch.equal(seen[0], expected)
    torch.testing.assert_close(losses, draws.noise.square().mean(dim=(1, 2, 3)) * batch.weights)


def test_timesteps_come_from_the_configured_range(data):
    drawn_steps = torch.cat(
        [
            draw(
                data.load(ITEMS),
                dataclasses.replace(CONFIG, loss=LossConfig(min_timestep=3, max_timestep=6)),
                epoch,
                1000,
            ).timesteps
            for epoch in range(30)
        ]
    )
    assert set(drawn_steps.tolist()) == {3, 4, 5}
