"""How good the adapters are on images that are not trained on, without the noise of single losses.

Every image is measured with the same noise at the same timesteps each time, one in each equal part
of the range. A loss alone says little: which timestep it is of decides most of it. So each is
compared with itself at step 0, where adapters give nothing yet, and what is told is the mean of these
differences: negative is better than at the start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from .. import rng
from ..batches.embedding_captions import shown_text
from ..batches.plan import BatchItem
from ..batches.training_data import TrainingData
from ..cache.latents import CachedItem
from ..config.train import TrainConfig
from ..device.attending import fixed_order
from ..device.transfer import read
from ..training.live_encoding import with_texts
from ..training.step import Draws, Model, sample_losses


class Validation:
    """The held-out images with their fixed noise and timesteps, ready to be measured.

    The loss is that of training with its weights, on plain Gaussian noise and unmirrored images.
    """

    def __init__(
        self, data: TrainingData, items: Sequence[CachedItem], config: TrainConfig
    ) -> None:
        """``data`` is that of the ``items``, all of which are held out."""
        self._data, self._items, self._config = data, items, config

    def losses(self, model: Model, before_batch: Callable[[], None]) -> list[float]:
        """The loss of every image at each of its timesteps, as the adapters are now.

        ``before_batch`` is called before every forward and may raise. The device is waited for once, in the end.
        """
        found, device, pins = [], model.device, model.pins
        with torch.no_grad(), fixed_order():
            for index in range(len(self._items)):
                text = shown_text(self._items[index], self._config.embedding)
                batch = self._data.load([BatchItem(index, 0, False, text)])
                latents, batch = batch.latents, with_texts(model, batch.to(device, pins=pins))
                for part in range(self._config.validation.timesteps):
                    before_batch()
                    draws = self._draws(index, latents, part, len(model.schedule))
                    draws = draws.to(device, pins=pins)
                    found.append(sample_losses(model, batch, draws, self._config.loss))
        return [loss for [loss] in read(found)] if found else []

    def _draws(self, index: int, latents: torch.Tensor, part: int, timesteps: int) -> Draws:
        """Pure functions of (seed, image, part of the range), on the CPU."""
        item, settings, loss = self._items[index], self._config.validation, self._config.loss
        key = ("validation", item.digest, *item.bucket, part)
        lowest, highest = loss.min_timestep, min(loss.max_timestep, timesteps)
        place = (part + rng.uniform(settings.seed, *key, "timestep")) / settings.timesteps
        step = lowest + int((highest - lowest) * place)
        noise = torch.randn(latents.shape, generator=rng.generator(settings.seed, *key, "noise"))
        return Draws(noise, torch.tensor([step]))
