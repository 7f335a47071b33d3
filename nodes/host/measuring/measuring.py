"""Each image's loss on fixed noise in a MODEL that ComfyUI has loaded, without and with LoRAs; nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType

import torch
from torch import Tensor

from ....trainer.batches.training_data import TrainingData
from ....trainer.cache.latents import CachedDataset, CachedItem
from ....trainer.cache.texts import KIND, finite, text_key
from ....trainer.config.measuring import MeasureConfig
from ....trainer.files.store import Store
from ....trainer.frozen.weights import Weights
from ....trainer.layers.attach import Attachment, weights_plan
from ....trainer.sdxl.constants import LATENT_CHANNELS, LATENT_PIXELS
from ....trainer.validation.image_losses import image_losses
from ....trainer.validation.split import as_measured
from ..cache_folder import cache_store
from ..dataset.cache import make_masks, texts_fingerprint
from ..model import clip as text
from ..model import memory, unet
from ..model.autograd_session import current_device, training_session
from ..model.host_types import Clip, ModelPatcher
from ..model.pristine import take_patches_out
from ..progress import NodeProgress, check_interrupt
from .lora_weights import put_on

_COPIES = 4
"""Of the largest weight, in float32, that lie on the device while a LoRA is added to it."""


class Measuring:
    """Context manager: images whose losses can be measured, with one LoRA and strength after another.

    The loss is what a validation of a training measures, with its weights, masks and prediction type.
    The MODEL is loaded once, by ComfyUI's memory manager, and never written to; nothing is kept. Called
    in inference mode. Whatever ends a measurement early (interrupt, out of memory, error) goes on to the
    caller with the MODEL as it was.
    """

    def __init__(
        self,
        model: ModelPatcher,
        clip: Clip | None,
        cached: CachedDataset,
        settings: MeasureConfig,
        node_id: str | None = None,
        passes: int = 1,
    ) -> None:
        """Of all images of ``cached``. clip: None where the cache holds the encoded captions, and no LoRA
        that is measured was trained with its text encoders. passes: how often `losses` will be called,
        for the bar.

        Raises:
            ValueError: the MODEL or CLIP is none of SDXL's, or the loss does not suit what it predicts.
        """
        unet.check_trainable(model)
        settings.loss.check_prediction(unet.prediction(model))
        if clip is not None:
            text.check_clip(clip)
        elif cached.text_fingerprint is None:
            raise ValueError(
                "The captions are not encoded yet: connect CLIP to Cache Latents or to this node."
            )
        if not cached.items:
            raise ValueError("There is no image to measure: the cache is empty.")
        self._model, self._clip, self._settings, self._node_id = model, clip, settings, node_id
        recipe = settings.validation()
        self.items = tuple(as_measured(item, recipe) for item in cached.items)
        """The images in the order of the losses, each with its caption as it is measured."""
        self._cached = replace(cached, items=self.items)
        self._total = passes * len(self.items) * settings.timesteps * settings.seeds
        self._done = 0
        self._open = ExitStack()

    def __enter__(self) -> Measuring:
        self._store = self._open.enter_context(cache_store(self._cached.store_root))
        self._open.callback(memory.give_back)
        self._progress = NodeProgress(self._total, self._node_id)
        self._masks = ()
        if self._settings.loss.masked:
            self._masks = make_masks(self._cached, self._store, self._node_id)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def losses(
        self,
        lora: Mapping[str, Tensor] | None = None,
        strength: float = 1.0,
        captions: Sequence[str] | None = None,
    ) -> Tensor:
        """Losses [images, timesteps, seeds], float32 on the CPU; None or 0: those of the MODEL alone.

        captions: one for each image, in place of its own; they need CLIP. The noise of an image is the same each time.

        Raises:
            ValueError: the LoRA does not fit the MODEL, the cache lacks an image, or CLIP is missing.
        """
        items = self.items
        if captions is not None:
            pairs = zip(items, captions, strict=True)
            items = tuple(replace(item, caption=caption) for item, caption in pairs)
        weights, clip = put_on(self._model, self._clip, lora, strength)
        data = self._data(items, clip)
        reserve = self._reserve(lora)
        with torch.inference_mode():
            memory.make_room([self._model], reserve)
        weights.room = memory.room_beside(self._model, reserve)
        take_patches_out(self._model)
        with training_session(), ExitStack() as stack:
            stack.enter_context(current_device(self._model.load_device))
            self._attach(weights, stack)
            trained = unet.training_model(self._model, self._settings.loss)
            return image_losses(trained, data, items, self._settings, self._before_batch)

    def _attach(self, weights: Weights, stack: ExitStack) -> None:
        plan = weights_plan(self._model.model.diffusion_model, weights)
        stack.enter_context(weights.hold(step.module for step in plan))
        stack.enter_context(Attachment(plan))

    def _before_batch(self) -> None:
        check_interrupt()
        self._progress.update(self._done, f"measured {self._done}/{self._total}")
        self._done += 1

    def _data(self, items: Sequence[CachedItem], clip: Clip | None) -> TrainingData:
        """What is measured, with all that the cache lacks of its texts encoded."""
        cached, recipe = replace(self._cached, items=tuple(items)), self._settings.validation()
        fingerprint = cached.text_fingerprint
        if clip is not None:
            fingerprint = texts_fingerprint(cached, clip, recipe)
        assert fingerprint is not None  # there is a CLIP without it
        data = TrainingData(cached, fingerprint, self._store)
        data.masks = self._masks
        if clip is not None:
            self._encode(data, clip, fingerprint, self._store)
        missing = [name for name in data.missing(recipe) if clip is None]
        if missing:
            raise ValueError(
                f"The cache is missing {len(missing)} images or captions (first: {missing[0]}). Queue again, "
                "and Cache Latents makes what is gone; for captions connect CLIP to this node."
            )
        return data

    def _encode(self, data: TrainingData, clip: Clip, fingerprint: str, store: Store) -> None:
        """The captions that are not in the cache, into memory."""
        texts = dict.fromkeys(item.caption for item in data.dataset.items)
        for caption in texts:
            if not store.has(KIND, text_key(fingerprint, caption)):
                check_interrupt()
                encoding = text.encode_caption(clip, caption, data.dataset.texts)
                data.window[caption] = finite(caption, encoding)

    def _reserve(self, lora: Mapping[str, Tensor] | None) -> int:
        """Bytes beside the weights: of a forward of the largest image, and of the LoRA on a layer."""
        sides = [side // LATENT_PIXELS for item in self.items for side in item.bucket]
        pixels = max(w * h for w, h in zip(sides[::2], sides[1::2], strict=True))
        forward = self._model.model.memory_required([1, LATENT_CHANNELS, pixels, 1])
        if lora is None:
            return int(forward)
        largest = max(p.numel() for p in self._model.model.diffusion_model.parameters())
        return int(forward + 4 * _COPIES * largest + sum(value.nbytes for value in lora.values()))
