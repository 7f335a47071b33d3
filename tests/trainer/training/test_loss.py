import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from pack.trainer.config.loss import LossConfig
from pack.trainer.sdxl.schedule import Schedule
from pack.trainer.training.loss import huber_threshold, per_sample

TIMESTEPS = torch.tensor([0, 3, 250, 700, 999])
"""SNRs from 1172 (above the cap of 1000) down to 0.0047."""

CONFIGS = [
    LossConfig(),
    LossConfig(loss_type="l1"),
    *(
        LossConfig(loss_type=kind, huber_schedule=schedule, huber_c=0.2, huber_scale=1.5)
        for kind in ("huber", "smooth_l1")
        for schedule in ("snr", "exponential", "constant")
    ),
    LossConfig(min_snr_gamma=5.0),
    LossConfig(debiased=True),
    LossConfig(min_snr_gamma=1.0, debiased=True),
]
EPSILON = [*CONFIGS, LossConfig(v_pred_like=0.5), LossConfig(v_pred_like=0.5, debiased=True)]
V = [*CONFIGS, LossConfig(scale_v_pred=True), LossConfig(scale_v_pred=True, debiased=True)]


@pytest.fixture
def batch():
    """Prediction, target, weights, mask; the mask's pixels are twice the latents'."""
    rng = torch.Generator().manual_seed(0)
    answer, target = (torch.randn(5, 4, 3, 2, generator=rng) for _ in range(2))
    return (
        answer,
        target,
        torch.tensor([1.0, 0.5, 2.0, 0.0, 1.0]),
        torch.rand(5, 6, 4, generator=rng),
    )


def element(difference, config, timestep, alphas):
    """One element's loss, in Python's own numbers (docs/kohya.md, "Noise and loss")."""
    if config.loss_type == "l2":
        return difference**2
    if config.loss_type == "l1":
        return abs(difference)
    c = config.huber_c
    if config.huber_schedule == "snr":
        ac = alphas[timestep]
        sigma = math.sqrt((1 - ac) / ac) if ac else math.inf
        c = (1 - c) / (1 + sigma) ** 2 + c
    elif config.huber_schedule == "exponential":
        c = math.exp(math.log(c) / 1000 * timestep) * config.huber_scale
    else:
        c = c * config.huber_scale
    factor = 2 * c if config.loss_type == "huber" else 2
    return factor * (math.sqrt(difference**2 + c**2) - c)


def weighted(loss, config, snr, v):
    """One sample's loss after the SNR weightings, in kohya's order."""
    if config.min_snr_gamma:
        loss *= min(snr, config.min_snr_gamma) / (snr + 1 if v else snr)
    snr = min(snr, 1000)
    if config.scale_v_pred:
        loss *= snr / (snr + 1)
    if config.v_pred_like:
        loss += loss / (snr / (snr + 1)) * config.v_pred_like
    if config.debiased:
        loss /= snr + 1 if v else math.sqrt(snr)
    return loss


def independent(batch, schedule, config, *, weights=False, mask=False):
    answer, target, factors, pixels = batch
    alphas, snr = schedule.alphas_cumprod.double().tolist(), schedule.snr.double().tolist()
    rows = []
    for row, timestep in enumerate(TIMESTEPS.tolist()):
        total = 0.0
        for c in range(4):
            for h in range(3):
                for w in range(2):
                    difference = float(answer[row, c, h, w]) - float(target[row, c, h, w])
                    area = pixels[row, 2 * h : 2 * h + 2, 2 * w : 2 * w + 2].mean().item()
                    one = element(difference, config, timestep, alphas)
                    total += one * (area if mask else 1.0)
        loss = total / 24 * (float(factors[row]) if weights else 1.0)
        rows.append(weighted(loss, config, snr[timestep], schedule.prediction == "v"))
    return torch.tensor(rows)


CASES = [("epsilon", c) for c in EPSILON] + [("v", c) for c in V]


@pytest.mark.parametrize("zero_terminal_snr", [False, True], ids=["plain", "ztsnr"])
@pytest.mark.parametrize(("prediction", "config"), CASES)
def test_every_setting_equals_a_sum_over_elements(batch, prediction, config, zero_terminal_snr):
    schedule = Schedule.sdxl(prediction, zero_terminal_snr=zero_terminal_snr)
    ours = per_sample(*batch[:2], TIMESTEPS, schedule, config)
    expected = independent(batch, schedule, config)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)
    ours = per_sample(*batch[:2], TIMESTEPS, schedule, config, weights=batch[2], mask=batch[3])
    expected = independent(batch, schedule, config, weights=True, mask=True)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)


def test_the_snr_is_capped_except_for_min_snr(batch):
    schedule = Schedule.sdxl()
    assert float(schedule.snr[0]) > 1100
    plain = per_sample(*batch[:2], TIMESTEPS, schedule, LossConfig())
    debiased = per_sample(*batch[:2], TIMESTEPS, schedule, LossConfig(debiased=True))
    assert float(plain[0] / debiased[0]) == pytest.approx(math.sqrt(1000), rel=1e-5)
    min_snr = per_sample(*batch[:2], TIMESTEPS, schedule, LossConfig(min_snr_gamma=5))
    assert float(plain[0] / min_snr[0]) == pytest.approx(float(schedule.snr[0]) / 5, rel=1e-5)


def test_zero_terminal_snr_weighs_by_the_plain_schedule(batch):
    config = LossConfig(min_snr_gamma=5)
    plain, fixed = Schedule.sdxl("v"), Schedule.sdxl("v", zero_terminal_snr=True)
    losses = [per_sample(*batch[:2], TIMESTEPS, s, config) for s in (plain, fixed)]
    assert torch.equal(*losses) and losses[1][-1] > 0


@pytest.mark.parametrize("kind", ["huber", "smooth_l1"])
def test_the_huber_scale_counts_except_for_the_snr_schedule(kind):
    config = LossConfig(loss_type=kind, huber_c=0.2)
    for schedule, factor in (("snr", 1.0), ("exponential", 3.0), ("constant", 3.0)):
        one = dataclasses.replace(config, huber_schedule=schedule)
        three = dataclasses.replace(one, huber_scale=3.0)
        low, high = (huber_threshold(TIMESTEPS, Schedule.sdxl(), c) for c in (one, three))
        torch.testing.assert_close(high, factor * low, rtol=1e-6, atol=0)
        assert low.shape == (5,) and low.dtype == torch.float32


def test_the_gradient_of_a_large_error_is_bounded_by_huber():
    for kind, bound in (("l1", 1.0), ("huber", 2 * 0.1), ("smooth_l1", 2.0)):
        answer = torch.full((1, 1, 1, 1), 1000.0, requires_grad=True)
        config = LossConfig(loss_type=kind, huber_schedule="constant")
        loss = per_sample(answer, torch.zeros(1, 1, 1, 1), TIMESTEPS[:1], Schedule.sdxl(), config)
        loss.sum().backward()
        assert float(answer.grad) == pytest.approx(bound, rel=1e-5)


def test_a_mask_is_resized_by_area_and_not_renormalised(batch):
    answer, target, _, _ = batch
    mask = torch.zeros(5, 24, 16)
    mask[:, :8, :8] = 1.0
    ours = per_sample(answer, target, TIMESTEPS, Schedule.sdxl(), LossConfig(), mask=mask)
    corner = F.mse_loss(answer[..., 0, 0], target[..., 0, 0], reduction="none").mean(1)
    torch.testing.assert_close(ours, corner / 6)
    half = per_sample(answer, target, TIMESTEPS, Schedule.sdxl(), LossConfig(), mask=mask * 0 + 0.5)
    full = per_sample(answer, target, TIMESTEPS, Schedule.sdxl(), LossConfig())
    torch.testing.assert_close(half, full / 2)


def test_the_loss_is_float32_whatever_the_model_computes_in(batch):
    low = batch[0].half()
    loss = per_sample(low, batch[1], TIMESTEPS, Schedule.sdxl(), LossConfig())
    assert loss.dtype == torch.float32
    exact = per_sample(low.float(), batch[1], TIMESTEPS, Schedule.sdxl(), LossConfig())
    assert torch.equal(loss, exact)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_parts_weighed_by_their_share_add_up_to_the_whole(batch, size):
    config, schedule = LossConfig(loss_type="huber", min_snr_gamma=5), Schedule.sdxl()
    whole = per_sample(*batch[:2], TIMESTEPS, schedule, config, weights=batch[2], mask=batch[3])
    total = 0.0
    for start in range(0, 5, size):
        part = slice(start, start + size)
        answer, target, weights, mask = (tensor[part] for tensor in batch)
        losses = per_sample(
            answer, target, TIMESTEPS[part], schedule, config, weights=weights, mask=mask
        )
        total += float(losses.mean()) * len(answer) / 5
    assert total == pytest.approx(float(whole.mean()), rel=1e-6)
