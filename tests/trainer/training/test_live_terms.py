"""The loss where a text encoder is trained: own predictions and held-out images are told live texts too."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.func import functional_call

from pack.tests.trainer.tiny_cache import encode, make_cache, make_item
from pack.tests.trainer.tiny_run import CONFIG
from pack.tests.trainer.tiny_unet import CONTEXT, PlainWeights, make_model, make_unet
from pack.tests.trainer.training.test_live_encoding import CLIPMLP
from pack.trainer.batches.plan import BatchItem
from pack.trainer.batches.training_data import TrainingData
from pack.trainer.config.loss import LossConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.validation import ValidationConfig
from pack.trainer.dataset.dataset import Dataset
from pack.trainer.layers.attach import Attachment, leaf_plan
from pack.trainer.layers.text_plan import text_plan
from pack.trainer.network.network import Network
from pack.trainer.network.text_targets import run_targets
from pack.trainer.training.preservation import loss_terms
from pack.trainer.training.step import draw
from pack.trainer.validation.measure import Validation

RECIPE = dataclasses.replace(
    CONFIG,
    optimiser=OptimiserConfig(learning_rate=1e-3, text_encoder_1_rate=1e-3),
    loss=LossConfig(preservation=0.7, preservation_class="cat"),
    validation=ValidationConfig(1, timesteps=3),
)


class TinyEncoder(nn.Module):
    """A text encoder: numbers of the caption through an MLP that may be adapted."""

    def __init__(self):
        super().__init__()
        self.mlp = CLIPMLP()
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(CONTEXT, 8), nn.Linear(8, CONTEXT)
        self.requires_grad_(False)

    def forward(self, text):
        context, pooled = encode(text)
        hidden = self.mlp.fc2(self.mlp.fc1(context).tanh())
        return hidden, pooled * hidden.mean()


class Scene:
    """Adapters that already do something, on UNet and encoder; the first batch and its draws."""

    def __init__(self, root):
        items = [dataclasses.replace(make_item(n), caption=f"sks, {n}") for n in range(3)]
        items[1] = dataclasses.replace(items[1], preserves=True, is_reg=True)
        self.cached = make_cache(root, *items)
        self.cached = dataclasses.replace(self.cached, dataset=Dataset((), trigger="sks"))
        torch.manual_seed(0)
        self.unet, self.encoder = make_unet(inference=False), TinyEncoder()
        targets = run_targets(self.unet, (self.encoder, self.encoder), RECIPE)
        self.network = Network(targets, 1)
        for parameter in self.network.parameters():
            nn.init.normal_(parameter, std=0.2)
        self.model = dataclasses.replace(make_model(self.unet), encode=self.encoder)
        self.data = TrainingData(self.cached, "", live_texts=True)
        self.plan = [
            *leaf_plan(self.unet, self.network, PlainWeights()),
            *text_plan(self.encoder, self.network, PlainWeights()),
        ]

    def merged(self, module):
        """The weights of a module with the adapters in them, differentiable."""
        changed = {}
        for target in self.network.targets:
            for path, layer in module.named_modules():
                if layer is target.module:
                    adapter = self.network.adapters[target.key]
                    change = adapter.change().view(layer.weight.shape)
                    changed[f"{path}.weight"] = layer.weight + change
        assert changed
        return changed

    def by_hand(self, batch, texts, noisy, timesteps, *, adapted):
        """The prediction by plain autograd, with the adapters merged or without them."""
        encoder_weights = self.merged(self.encoder) if adapted else {}
        unet_weights = self.merged(self.unet) if adapted else {}
        rows = [functional_call(self.encoder, encoder_weights, (text,)) for text in texts]
        context, pooled = (torch.stack(part) for part in zip(*rows, strict=True))
        y = torch.cat([pooled, batch.y], dim=1)
        return functional_call(self.unet, unet_weights, (noisy, timesteps.float(), context, y))


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def mse(answer, target):
    return (answer - target).square().mean(dim=(1, 2, 3))


def test_own_answers_are_those_of_the_untrained_encoder(scene):
    step = next(
        s
        for s in scene.data.steps(RECIPE)
        if any(item.preserves for item in s.batches[0]) and len(s.batches[0]) == 2
    )
    batch = scene.data.load(step.batches[0])
    draws = draw(batch, RECIPE, step.epoch, 1000)
    noisy = scene.model.schedule.noisy(batch.latents, draws.noise, draws.timesteps)
    found = []
    with Attachment(scene.plan):
        for term in loss_terms(scene.model, scene.network, batch, draws, RECIPE.loss):
            term.mean().backward()
            found.append(term.detach())
    gradients = [p.grad.clone() for p in scene.network.parameters()]

    texts = [item.text for item in batch.items]
    others = [item.class_text for item in batch.items]
    assert all("cat" in text and "sks" not in text for text in others)
    told = noisy, draws.timesteps
    target = draws.noise.clone()
    kept = [item.preserves for item in batch.items]
    target[kept] = scene.by_hand(batch, texts, *told, adapted=False)[kept]
    own = mse(scene.by_hand(batch, texts, *told, adapted=True), target) * batch.weights
    other = mse(
        scene.by_hand(batch, others, *told, adapted=True),
        scene.by_hand(batch, others, *told, adapted=False),
    )
    expected = [own, 0.7 * other * batch.weights]
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two.detach(), rtol=1e-4, atol=1e-6)
    wanted = torch.autograd.grad(sum(t.mean() for t in expected), scene.network.parameters())
    for one, two in zip(gradients, wanted, strict=True):
        assert two.any()
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-6)


def test_held_out_pictures_are_told_live_texts(scene):
    validation = Validation(scene.data, scene.cached.items, RECIPE)
    with Attachment(scene.plan):
        found = validation.losses(scene.model, lambda: None)
    expected = []
    for index, item in enumerate(scene.cached.items):
        batch = scene.data.load([BatchItem(index, 0, False, item.caption)])
        for part in range(3):
            draws = validation._draws(index, batch.latents, part, 1000)
            noisy = scene.model.schedule.noisy(batch.latents, draws.noise, draws.timesteps)
            answer = scene.by_hand(batch, [item.caption], noisy, draws.timesteps, adapted=True)
            expected.append(float(mse(answer, draws.noise).detach()) * item.weight)
    assert found == pytest.approx(expected, rel=1e-4)
