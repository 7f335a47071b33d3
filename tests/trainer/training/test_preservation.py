"""Prior preservation: with regularisation images, with the model's own predictions, and without images."""

import dataclasses

import pytest
import torch
from torch import nn

from pack.tests.trainer.tiny_cache import FINGERPRINT, encode, make_cache, make_item
from pack.tests.trainer.tiny_run import CONFIG, Run, same
from pack.tests.trainer.tiny_unet import PlainWeights
from pack.tests.trainer.training.test_resume import in_pieces
from pack.trainer.batches.caption_window import CaptionWindow
from pack.trainer.batches.training_data import TrainingData
from pack.trainer.cache.texts import cache_texts
from pack.trainer.config.captions import CaptionConfig
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.loss import LossConfig
from pack.trainer.dataset.dataset import Dataset
from pack.trainer.files.store import Store
from pack.trainer.layers.attach import Attachment, checkpoint_plan, leaf_plan
from pack.trainer.training.preservation import loss_terms
from pack.trainer.training.step import draw

TRIGGER, WORD = "sks", "cat"
LOSS = LossConfig(preservation=0.7, preservation_class=WORD, min_snr_gamma=5.0)
STEPS = 6


def make(root, *, reg=False, kept=False, loss=None):
    """Four images at weight 1 and, if asked for, two regularisation images at weight 0.25."""
    items = [make_item(number) for number in range(4)]
    if reg or kept:
        extra = [make_item(number, weight=0.25) for number in (4, 5)]
        items += [dataclasses.replace(item, is_reg=True, preserves=kept) for item in extra]
    items = [
        dataclasses.replace(i, caption=i.caption if i.is_reg else f"{TRIGGER}, number {i.digest}")
        for i in items
    ]
    cached = make_cache(root, *items)
    words = [f"{WORD}, number {number}" for number in range(4)]
    cache_texts(words, encode, Store(root), FINGERPRINT)
    return dataclasses.replace(cached, dataset=Dataset((), trigger=TRIGGER))


def config_with(loss, **changes):
    return dataclasses.replace(CONFIG, steps=STEPS, loss=loss, **changes)


def started(run):
    """The run with adapters that already do something: fresh ones give the model's own prediction."""
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in run.network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=rng))
    return run


class ByHand:
    """The same run with plain autograd: two UNets, one without adapters, and AdamW of torch."""

    def __init__(self, cached, config):
        self.run, self.base = started(Run(cached, config)), Run(cached, config).unet
        self.cached, self.config = cached, config
        network = self.run.network
        for target in network.targets:
            adapter = network.adapters[target.key]
            target.module.register_forward_hook(
                lambda _, inputs, output, adapter=adapter: output + adapter(*inputs)
            )
        for unet in (self.run.unet, self.base):
            for module in unet.modules():
                for name, parameter in list(module._parameters.items()):
                    if parameter is not None:
                        frozen = nn.Parameter(parameter.clone(), requires_grad=False)
                        module._parameters[name] = frozen

    def go(self):
        config, data = self.config, self.run.data
        optimiser = torch.optim.AdamW(self.run.network.parameters(), lr=1e-3, weight_decay=0.01)
        losses = []
        for _, (epoch, batches, _) in zip(range(STEPS), data.steps(config), strict=False):
            (items,) = batches
            loss = self.loss(data.load(items), epoch)
            loss.backward()
            nn.utils.clip_grad_norm_(self.run.network.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            losses.append(float(loss.detach()))
        return losses

    def loss(self, batch, epoch):
        noise, timesteps, _ = draw(batch, self.config, epoch, 1000)
        ac = self.run.model.schedule.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        noisy = ac.sqrt() * batch.latents + (1 - ac).sqrt() * noise
        snr, gamma = (ac / (1 - ac)).flatten(), self.config.loss.min_snr_gamma
        by_snr = snr.clamp(max=gamma) / snr if gamma else torch.ones_like(snr)
        inputs = (noisy, timesteps.float(), batch.context, batch.y)
        target = noise.clone()
        for row, shown in enumerate(batch.items):
            if self.cached.items[shown.item_index].preserves:
                target[row] = self.base(*inputs)[row]
        total = self._mean(inputs, target, by_snr * batch.weights)
        if self.config.loss.preservation:
            captions = [self.cached.items[shown.item_index].caption for shown in batch.items]
            encoded = [encode(caption.replace(TRIGGER, WORD)) for caption in captions]
            context = torch.stack([context for context, _ in encoded])
            pooled = torch.stack([pooled for _, pooled in encoded])
            y = torch.cat([pooled, batch.y[:, pooled.shape[1] :]], 1)
            other = (noisy, timesteps.float(), context, y)
            term = self._mean(other, self.base(*other), by_snr * batch.weights)
            total = total + self.config.loss.preservation * term
        return total

    def _mean(self, inputs, target, weights):
        errors = ((self.run.unet(*inputs) - target) ** 2).mean((1, 2, 3))
        return (errors * weights).mean()


@pytest.mark.parametrize(
    ("pictures", "loss"),
    [
        ({"reg": True}, LossConfig()),
        ({"kept": True}, LossConfig()),
        ({}, LOSS),
        ({"kept": True}, LOSS),
    ],
    ids=["reg", "kept", "class", "both"],
)
def test_a_run_is_what_plain_pytorch_makes_of_it(tmp_path, pictures, loss):
    cached = make(tmp_path, **pictures)
    config = config_with(loss)
    run, other = started(Run(cached, config)), ByHand(cached, config)
    losses = run.go().losses
    assert losses == pytest.approx(other.go(), rel=2e-5)
    for ours, theirs in zip(run.factors, other.run.factors, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=2e-5)


def test_both_ways_change_a_run(tmp_path):
    """So that the test above cannot pass on terms that vanish."""
    reg, kept = make(tmp_path / "a", reg=True), make(tmp_path / "b", kept=True)
    term = dataclasses.replace(LOSS, min_snr_gamma=0.0)
    runs = [(reg, LossConfig()), (kept, LossConfig()), (kept, term)]
    plain, own, both = (
        started(Run(cached, config_with(loss))).go().losses for cached, loss in runs
    )
    assert plain != pytest.approx(own, rel=1e-2)
    assert both[0] > 1.003 * own[0]


@pytest.mark.parametrize("drops", [False, True])
def test_blocks_that_are_recomputed_have_the_adapters_as_in_the_forward(tmp_path, drops):
    """The gradients of one batch with blocks recomputed, against those without."""
    lora = LoraConfig(rank=2, alpha=2.0, dropout=0.3 * drops)
    config = dataclasses.replace(config_with(LOSS, lora=lora), steps=3)
    plain, recomputed = (started(Run(make(tmp_path, kept=True), config)) for _ in range(2))
    expected = plain.go()
    plan = leaf_plan(recomputed.unet, recomputed.network, PlainWeights())
    with Attachment([*plan, *checkpoint_plan(recomputed.unet)]):
        found = recomputed.loop.run(recomputed.observer)
    assert found.losses == pytest.approx(expected.losses, rel=1e-6)
    for ours, theirs in zip(recomputed.factors, plain.factors, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_micro_batches_and_pieces_change_nothing(tmp_path):
    cached = make(tmp_path, kept=True)
    lora = LoraConfig(rank=2, alpha=2.0, dropout=0.2)
    config = config_with(LOSS, lora=lora)
    whole = Run(cached, config)
    outcome = whole.go()
    run, again = in_pieces(cached, config, tmp_path / "run", 2, 5)
    assert again == outcome and same(run.factors, whole.factors)
    split = Run(cached, config, micro_batch=1)
    assert split.go().losses == pytest.approx(outcome.losses, rel=1e-5)
    calls = STEPS * 2 * 2 * 2  # two images a step, two terms, each with the adapters and without
    kept = sum(i.preserves for _, batches, _ in steps(run, config) for b in batches for i in b)
    assert len(split.calls) == calls - STEPS * 2 + kept


def steps(run, config):
    return [step for _, step in zip(range(STEPS), run.data.steps(config), strict=False)]


def test_the_adapters_are_on_again_whatever_happens(tmp_path):
    run = Run(make(tmp_path), config_with(LOSS))
    with pytest.raises(RuntimeError), run.network.at_strength(0.0):
        assert run.network.strength == 0.0
        raise RuntimeError
    assert run.network.strength == 1.0


def test_a_mask_covers_the_picture_and_not_what_is_preserved(tmp_path):
    run = started(Run(make(tmp_path), config_with(LOSS)))
    _, (items,), _ = next(run.data.steps(run.config))
    batch = run.data.load(items)
    masked = dataclasses.replace(batch, mask=torch.full((2, 8, 8), 0.5))
    draws = draw(batch, run.config, 0, 1000)
    plan = leaf_plan(run.unet, run.network, PlainWeights())
    with Attachment(plan), torch.no_grad():
        whole, half = (
            list(loss_terms(run.model, run.network, b, draws, LOSS)) for b in (batch, masked)
        )
    torch.testing.assert_close(half[0], whole[0] / 2)
    assert torch.equal(half[1], whole[1]) and float(whole[1].min()) > 0


def test_captions_that_differ_lose_their_trigger_too(tmp_path):
    """The window holds both texts of every sample."""
    cached = make(tmp_path)
    config = config_with(LOSS, captions=CaptionConfig(shuffle=True))
    data = TrainingData(cached, FINGERPRINT)
    window = CaptionWindow(data, config)
    encoded = []
    window.fill(lambda text: encoded.append(text) or encode(text))
    _, (items,), _ = next(data.steps(config))
    for item in items:
        assert item.class_text == item.text.replace(TRIGGER, WORD) != item.text
        assert item.text in encoded and item.class_text in encoded
    batch = data.load(items)
    expected = torch.stack([encode(item.class_text)[0] for item in items])
    assert torch.equal(batch.class_context, expected)
    assert torch.equal(batch.class_y[:, 4:], batch.y[:, 4:])


def test_a_missing_class_caption_is_missed(tmp_path):
    cached = make(tmp_path)
    data = TrainingData(cached, FINGERPRINT)
    assert data.missing(config_with(LOSS)) == []
    other = dataclasses.replace(LOSS, preservation_class="dog")
    assert data.missing(config_with(other)) == [item.name for item in cached.items]
    assert data.missing(config_with(LossConfig())) == []


def test_a_picture_that_is_preserved_makes_another_run(tmp_path):
    reg, kept = make(tmp_path, reg=True), make(tmp_path, kept=True)
    assert reg.identity() != kept.identity()
