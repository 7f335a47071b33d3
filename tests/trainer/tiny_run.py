"""One training of the tiny UNet, for tests of the loop."""

import dataclasses

import torch

from pack.tests.trainer.tiny_cache import FINGERPRINT
from pack.tests.trainer.tiny_unet import PlainWeights, make_model, make_unet
from pack.trainer.batches.training_data import TrainingData
from pack.trainer.config.lora import LoraConfig
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.train import TrainConfig
from pack.trainer.layers.attach import Attachment, leaf_plan
from pack.trainer.network.network import Network
from pack.trainer.network.unet_targets import find_targets
from pack.trainer.training.loop import Loop

CONFIG = TrainConfig(
    steps=6,
    batch_size=2,
    seed=1,
    lora=LoraConfig(rank=2, alpha=2.0),
    optimiser=OptimiserConfig(learning_rate=1e-3),
)


class Observer:
    """Keeps all events; may do something of its own at a step."""

    def __init__(self, at_step=None):
        self.events, self.batches, self.at_step = [], 0, at_step

    def before_batch(self):
        self.batches += 1

    def on_step(self, event):
        self.events.append(event)
        if self.at_step is not None:
            self.at_step(event)


class Run:
    """One training of the tiny UNet, ready to start."""

    def __init__(
        self,
        cached,
        config=CONFIG,
        *,
        spoil=None,
        micro_batch=None,
        observer=None,
        start=None,
        damage=list,
    ):
        self.unet = make_unet()
        self.data = TrainingData(cached, FINGERPRINT)
        targets = find_targets(self.unet, config.lora)
        self.network = Network(targets, config.seed, weights=PlainWeights())
        self.observer = observer or Observer()
        self.calls = []
        model = make_model(self.unet)
        predict = self._predict if spoil is None else lambda *args: spoil(self, *args)
        model = dataclasses.replace(model, predict=predict, damage=damage)
        self.config, self.model = config, model
        self.loop = Loop(model, self.network, self.data, config, micro_batch, start)

    def _predict(self, *inputs):
        self.calls.append(len(inputs[0]))
        return self.unet(*inputs)

    def attached(self):
        return Attachment(leaf_plan(self.unet, self.network, PlainWeights()))

    def go(self):
        with self.attached():
            return self.loop.run(self.observer)

    @property
    def factors(self):
        return [parameter.detach().clone() for parameter in self.network.parameters()]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
