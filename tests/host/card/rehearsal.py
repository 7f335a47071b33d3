"""Trainings on a card made of shapes, and what each of their steps asked of it."""

from collections import Counter

import torch

from pack.bench.counted.card import CARD, Card, Counts
from pack.nodes.host.training import train as training
from pack.tests.host import scene
from pack.trainer.device import transfer
from pack.trainer.device.copy_stream import InOrder
from pack.trainer.network import dropout
from pack.trainer.training.loop import Loop

BATCH = 2
SENT = 6
"""Copies to the card for each batch: latents, context, sizes, weights; noise, timesteps."""


class Rehearsal:
    """ComfyUI with its models on the card (pretended.py), watched."""

    def __init__(self, parts, cached, card, patch):
        self.parts, self.cached, self.card = parts, cached, card
        self.steps = []
        """What every step of the last training counted: gradients, one read, the optimiser."""
        compute, apply = Loop._compute, Loop._apply

        def computed(loop, *arguments):
            card.counts = Counts()
            return compute(loop, *arguments)

        def applied(loop, *arguments):
            outcome = apply(loop, *arguments)
            self.steps.append(card.counts)
            card.counts = Counts()
            return outcome

        own = dropout.generator
        patch.setattr(  # meta has no generators
            dropout,
            "generator",
            lambda *key, device: None if device == CARD else own(*key, device=device),
        )
        patch.setattr(Loop, "_compute", computed)
        patch.setattr(Loop, "_apply", applied)

    def train(self, steps=2, batch_size=BATCH, lora=None, optimiser=None, **settings):
        """Train with the real `train_lora`; settings of the config, and those of the request."""
        extra = {
            name: settings.pop(name) for name in ("clip", "vae", "previews") if name in settings
        }
        recipe = scene.config(steps, batch_size=batch_size, **settings)
        recipe = recipe.having(lora=lora, optimiser=optimiser)
        self.steps.clear()
        with torch.inference_mode():
            request = scene.request(self.parts, self.cached, recipe, **extra)
            return training.train_lora(request)[0]

    def check(self, sent=SENT, products=0, waits=1):
        """Refuse steps that wait, send or compute in float32 more often than they must.

        sent: copies to the card for each step; products: with a factor in float32.
        """
        assert self.steps
        for number, step in enumerate(self.steps, 1):
            assert step.waits.total() == waits, f"step {number} waits: {step.waits}"
            assert step.products.total() == products, f"step {number}: {step.products}"
        together = sum((step.sent for step in self.steps), Counter())
        assert together.total() == sent * len(self.steps), together

    def without_steps(self, call):
        """What a call counts by itself, and what it gives."""
        before, self.card.counts = self.card.counts, Counts()
        try:
            return call(), self.card.counts
        finally:
            self.card.counts = before


def watched():
    """A card that knows what sends without waiting; on a real one a stream of its own copies weights."""
    return Card(transfer.send, InOrder.copy)
