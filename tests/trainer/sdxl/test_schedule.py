import math

import pytest
import torch
from safetensors.torch import load_file

from pack.trainer.sdxl.schedule import Schedule, sdxl_alphas_cumprod, zero_terminal


@pytest.fixture
def batch():
    rng = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(5, 4, 3, 2, generator=rng) for _ in range(2))
    return latents, noise, torch.tensor([0, 17, 500, 998, 999])


def independent_alphas(steps=1000, start=0.00085, end=0.012):
    """The schedule in double precision, one beta at a time."""
    alphas, product = [], 1.0
    for i in range(steps):
        root = start**0.5 + (end**0.5 - start**0.5) * i / (steps - 1)
        product *= 1 - root**2
        alphas.append(product)
    return torch.tensor(alphas, dtype=torch.float64)


def sigmas(alphas):
    return ((1 - alphas) / alphas).sqrt()


def test_the_schedule_is_sdxls():
    alphas = sdxl_alphas_cumprod()
    torch.testing.assert_close(alphas.double(), independent_alphas(), rtol=1e-5, atol=0)
    assert float(sigmas(alphas)[-1]) == pytest.approx(14.6146, abs=1e-3)


def test_the_schedules_are_kohyas_to_the_bit(golden):
    tensors = load_file(golden / "losses.safetensors")
    for name, fixed in (("normal", False), ("ztsnr", True)):
        schedule = Schedule.sdxl(zero_terminal_snr=fixed)
        assert torch.equal(schedule.alphas_cumprod, tensors[f"{name}.alphas_cumprod"])
        torch.testing.assert_close(schedule.snr, tensors[f"{name}.all_snr"], rtol=1e-5, atol=0)


def test_zero_terminal_keeps_the_first_and_ends_in_noise():
    plain, fixed = sdxl_alphas_cumprod(), zero_terminal(sdxl_alphas_cumprod())
    assert fixed[-1] == 0
    assert float(fixed[0]) == pytest.approx(float(plain[0]), rel=1e-6)
    root = independent_alphas().sqrt()
    expected = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    torch.testing.assert_close(fixed.double(), expected, rtol=1e-4, atol=1e-9)


def test_noisy_latents_and_epsilon_target(batch):
    latents, noise, timesteps = batch
    schedule = Schedule.sdxl()
    noisy = schedule.noisy(*batch)
    alphas = independent_alphas()
    for row, timestep in enumerate(timesteps.tolist()):
        ac = alphas[timestep].item()
        expected = math.sqrt(ac) * latents[row] + math.sqrt(1 - ac) * noise[row]
        torch.testing.assert_close(noisy[row], expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(schedule.target(*batch), noise)


@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_v_leads_back_to_the_latents_and_to_the_noise(batch, zero_terminal_snr):
    latents, noise, timesteps = batch
    schedule = Schedule.sdxl("v", zero_terminal_snr=zero_terminal_snr)
    noisy, v = schedule.noisy(*batch), schedule.target(*batch)
    ac = schedule.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    torch.testing.assert_close(ac.sqrt() * noisy - (1 - ac).sqrt() * v, latents, rtol=0, atol=2e-6)
    torch.testing.assert_close((1 - ac).sqrt() * noisy + ac.sqrt() * v, noise, rtol=0, atol=2e-6)
    if zero_terminal_snr:
        assert torch.equal(noisy[-1], noise[-1]) and torch.equal(v[-1], -latents[-1])


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_a_sigma_table_gives_the_same_schedule(prediction):
    schedule = Schedule.from_sigmas(sigmas(sdxl_alphas_cumprod()), prediction)
    expected = Schedule.sdxl(prediction)
    assert schedule.prediction == prediction and len(schedule) == 1000
    assert not schedule.zero_terminal_snr
    torch.testing.assert_close(schedule.alphas_cumprod, expected.alphas_cumprod, rtol=1e-5, atol=0)
    alphas = expected.alphas_cumprod
    rounding = 1e-5 + 2**-24 / (1 - alphas)  # one bit of float32 alphas, as 1 - alphas feels it
    assert ((schedule.snr - expected.snr).abs() <= 2 * rounding * expected.snr).all()


def test_a_rescaled_sigma_table_keeps_the_plain_snr_for_weights():
    alphas = zero_terminal(sdxl_alphas_cumprod())
    alphas[-1] = 4.8973451890853435e-08  # ComfyUI's stand-in for 0
    schedule = Schedule.from_sigmas(sigmas(alphas), "v")
    kohya = Schedule.sdxl("v", zero_terminal_snr=True)
    assert schedule.zero_terminal_snr and kohya.zero_terminal_snr
    torch.testing.assert_close(schedule.alphas_cumprod, kohya.alphas_cumprod, rtol=1e-5, atol=1e-7)
    assert torch.equal(schedule.snr, kohya.snr)
    assert float(schedule.snr[-1]) == pytest.approx(0.0046819, rel=1e-4)


def test_a_sigma_table_of_the_model_is_neither_kept_nor_changed():
    with torch.inference_mode():
        table = sigmas(sdxl_alphas_cumprod()).half()
        before = table.clone()
    schedule = Schedule.from_sigmas(table, "epsilon")
    assert not schedule.alphas_cumprod.is_inference() and not schedule.snr.is_inference()
    assert schedule.alphas_cumprod.dtype == torch.float32
    schedule.alphas_cumprod.zero_()
    assert torch.equal(table, before)


def test_a_schedule_moves_as_a_whole():
    moved = Schedule.sdxl("v").to(torch.device("meta"))
    assert moved.alphas_cumprod.is_meta and moved.snr.is_meta and moved.prediction == "v"


def test_a_schedule_rescaled_here_is_kohyas(golden):
    tensors = load_file(golden / "losses.safetensors")
    rescaled = Schedule.sdxl("v").with_zero_terminal()
    assert torch.equal(rescaled.alphas_cumprod, tensors["ztsnr.alphas_cumprod"])
    torch.testing.assert_close(rescaled.snr, tensors["ztsnr.all_snr"], rtol=1e-5, atol=0)
    assert rescaled.prediction == "v"
    assert rescaled.with_zero_terminal() is rescaled


def test_flow_goes_in_a_straight_line_from_the_latents_to_the_noise(batch):
    latents, noise, timesteps = batch
    even = torch.arange(1, 1001) / 1000
    schedule = Schedule.flow(even, 1000.0)
    sigma = schedule.told(timesteps).view(-1, 1, 1, 1) / 1000
    assert schedule.told(timesteps).tolist() == pytest.approx([1, 18, 501, 999, 1000])
    noisy, target = schedule.noisy(*batch), schedule.target(*batch)
    torch.testing.assert_close(noisy - sigma * target, latents, rtol=0, atol=2e-6)
    torch.testing.assert_close(noisy + (1 - sigma) * target, noise, rtol=0, atol=2e-6)
    assert torch.equal(noisy[-1], noise[-1]) and not schedule.zero_terminal_snr
    assert len(schedule.to(torch.device("meta"))) == 1000
    assert schedule.to(torch.device("meta")).flow_sigmas.is_meta


def test_the_shift_of_flow_is_kohyas():
    """`--discrete_flow_shift`: s u / (1 + (s - 1) u); 0 keeps the table of the model."""
    even = torch.arange(1, 1001, dtype=torch.float64) / 1000
    own = Schedule.flow((even * 2).clamp(max=1), 1000.0)
    assert own.flow_sigmas.tolist() == pytest.approx((even * 2).clamp(max=1).tolist())
    shifted = Schedule.flow((even * 2).clamp(max=1), 1000.0, 3.0)
    assert shifted.flow_sigmas.tolist() == pytest.approx((3 * even / (1 + 2 * even)).tolist())


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule.sdxl(),
        Schedule.sdxl("v", zero_terminal_snr=True),
        Schedule.flow(torch.arange(1, 1001) / 1000, 1000.0),
    ],
    ids=["epsilon", "v", "flow"],
)
def test_a_right_prediction_takes_noisy_latents_apart(batch, schedule):
    latents, noise, timesteps = batch
    found = schedule.apart(schedule.noisy(*batch), schedule.target(*batch), timesteps)
    torch.testing.assert_close(found[0], latents, rtol=0, atol=2e-5)
    torch.testing.assert_close(found[1], noise, rtol=0, atol=2e-6)
