"""Concept sliders: what a step is, by hand, and that a run is one like any other."""

import dataclasses
import itertools

import pytest
import torch

from pack.tests.trainer.tiny_cache import FINGERPRINT, encode, make_cache
from pack.tests.trainer.tiny_run import CONFIG, Run, same
from pack.tests.trainer.tiny_unet import PlainWeights, make_model, make_unet
from pack.tests.trainer.training.test_resume import in_pieces
from pack.trainer.batches.training_data import TrainingData
from pack.trainer.cache.canvas import canvas
from pack.trainer.cache.texts import cache_texts
from pack.trainer.config.slider import SliderConfig
from pack.trainer.files.store import Store
from pack.trainer.layers.attach import Attachment, leaf_plan
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets
from pack.trainer.sdxl.schedule import Schedule
from pack.trainer.training.slider import slider_terms
from pack.trainer.training.step import Draws

SLIDER = SliderConfig("heart", "red heart", "", guidance=2.5, sampling_steps=3)
FIXED = dataclasses.replace(CONFIG, steps=4, batch_size=2, slider=SLIDER)
SIGMAS = torch.arange(1, 1001) / 1000
SCHEDULES = {
    "epsilon": Schedule.sdxl("epsilon"),
    "v": Schedule.sdxl("v", zero_terminal_snr=True),
    "flow": Schedule.flow(SIGMAS, 1000.0),
}
LENGTHS = {"heart": 4, "red heart": 6, "": 4}
"""Tokens of each prompt."""


@pytest.fixture
def cached(tmp_path):
    cache_texts(LENGTHS, lambda text: encode(text, LENGTHS[text]), Store(tmp_path), FINGERPRINT)
    found = canvas(SLIDER.target, 64, FIXED.batch_size, tmp_path)
    return dataclasses.replace(found, text_fingerprint=FINGERPRINT)


class ByHand:
    """A UNet whose layers have the network's adapters beside them, at any strength, with plain autograd."""

    def __init__(self, network, schedule):
        self.unet, self.strength, self.schedule = make_unet(inference=False), 1.0, schedule
        modules = dict(self.unet.named_modules())
        for target in network.targets:
            self._adapt(modules[target.path], network.adapters[target.key])

    def _adapt(self, module, adapter):
        module.register_forward_hook(
            lambda _, inputs, output: output + self.strength * adapter(*inputs)
        )

    def __call__(self, strength, x, timestep, text):
        self.strength = strength
        context, pooled = encode(text, LENGTHS[text])
        sizes = self.sizes[None]
        y = torch.cat([pooled[None], sizes], 1)
        return self.unet(x, self.schedule.told(timestep), context[None], y)

    def levels(self, timestep):
        """What the image and the noise of x_t are multiplied by."""
        if self.schedule.prediction == "flow":
            sigma = SIGMAS[timestep]
            return 1 - sigma, sigma
        ac = self.schedule.alphas_cumprod[timestep]
        return ac.sqrt(), (1 - ac).sqrt()

    def sampled(self, noise, end):
        """Three DDIM steps from timestep 999 to the end."""
        x, at = self.levels(999)[1] * noise, [999 - int((999 - end) * k / 3) for k in range(4)]
        for now, then in itertools.pairwise(at):
            told = torch.tensor([now])
            without, wanted = (self(1.0, x, told, text) for text in ("", "heart"))
            guided = without + 3.0 * (wanted - without)
            signal, sigma = self.levels(now)
            if self.schedule.prediction == "epsilon":
                picture, made = (x - sigma * guided) / signal, guided
            else:  # both x and the prediction are sums of image and noise
                row = (-1.0, 1.0) if self.schedule.prediction == "flow" else (-sigma, signal)
                both = torch.tensor([[signal, sigma], [row[0], row[1]]]).double()
                given = torch.stack([x, guided]).double().flatten(1)
                picture, made = torch.linalg.solve(both, given).float().view(2, *x.shape)
            signal, sigma = self.levels(then)
            x = signal * picture + sigma * made
        return x

    def loss(self, noise, end):
        """Of one sample, both directions."""
        told = torch.tensor([end])
        with torch.no_grad():
            x = self.sampled(noise, end)
            own, red, none = (self(0.0, x, told, text) for text in ("heart", "red heart", ""))
        more = self(1.0, x, told, "heart") - (own + 2.5 * (red - none))
        less = self(-1.0, x, told, "heart") - (own - 2.5 * (red - none))
        return (more**2).mean() + (less**2).mean()


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_step_is_what_plain_pytorch_makes_of_it(cached, kind):
    unet, schedule = make_unet(), SCHEDULES[kind]
    network = Network(find_targets(unet, FIXED.lora), 1, weights=PlainWeights())
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))
    data = TrainingData(cached, FINGERPRINT)
    batch = data.load(next(data.steps(FIXED)).batches[0])
    noise, ends = torch.randn(2, 4, 8, 8, generator=rng), [0, 640]
    model = dataclasses.replace(make_model(unet), schedule=schedule)
    losses = []
    with Attachment(leaf_plan(unet, network, PlainWeights())):
        draws = Draws(noise, torch.tensor(ends))
        for term in slider_terms(model, network, batch, draws, FIXED):
            term.mean().backward()
            losses.append(float(term.detach().mean()))
    ours = [parameter.grad.clone() for parameter in network.parameters()]
    for parameter in network.parameters():
        parameter.grad = None
    by_hand = ByHand(network, schedule)
    by_hand.sizes = batch.y[0, 4:]
    whole = sum(by_hand.loss(noise[row, None], end) for row, end in enumerate(ends)) / 2
    whole.backward()
    assert sum(losses) == pytest.approx(float(whole.detach()), rel=1e-4)
    for mine, parameter in zip(ours, network.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, rtol=1e-3, atol=1e-5)
        assert mine.any()


def test_a_run_in_pieces_or_in_parts_is_the_run_in_one(cached, tmp_path):
    whole = Run(cached, FIXED)
    losses = whole.go().losses
    again, outcome = in_pieces(cached, FIXED, tmp_path / "run", 1, 3)
    assert outcome.losses == losses and same(again.factors, whole.factors)
    parts = Run(cached, FIXED, micro_batch=1)
    assert parts.go().losses == pytest.approx(losses, rel=1e-4)
    assert len(set(losses)) == len(losses) and [e.epoch for e in whole.observer.events] == [
        1,
        2,
        3,
        4,
    ]


def test_prompts_make_a_run_and_no_other_run_knows_of_them(cached):
    plain = dataclasses.replace(FIXED, slider=SliderConfig())
    moved = dataclasses.replace(plain, slider=SliderConfig(target="heart", guidance=9.0))
    assert plain.identity() == moved.identity() != FIXED.identity()
    farther = dataclasses.replace(SLIDER, guidance=3.0)
    assert dataclasses.replace(FIXED, slider=farther).identity() != FIXED.identity()
    assert TrainingData(cached, FINGERPRINT).missing(FIXED) == []
    other = dataclasses.replace(SLIDER, negative="blue heart")
    missing = TrainingData(cached, FINGERPRINT).missing(dataclasses.replace(FIXED, slider=other))
    assert missing == ["canvas"]


def test_images_have_no_prompts_beside_their_captions(tmp_path):
    data = TrainingData(make_cache(tmp_path), FINGERPRINT)
    batch = data.load(next(data.steps(CONFIG)).batches[0])
    assert batch.others is None and batch.others_y is None
