"""The tensors of a training batch, read back from the cache."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...base.gc_pause import collection_paused
from .. import rng
from ..cache import latents as cache
from ..cache import masks, texts
from ..cache.canvas import NO_LATENT
from ..cache.latents import CachedDataset, CachedItem
from ..config.captions import CaptionConfig
from ..config.train import TrainConfig
from ..device.transfer import send
from ..files.store import Store
from ..sdxl.constants import LATENT_CHANNELS, LATENT_PIXELS, VAE_SCALE
from ..sdxl.size_embedding import size_vector
from .class_captions import class_caption, lasting_texts
from .embedding_captions import from_template, has_template
from .plan import BatchItem, epoch_batches
from .ram_cache import Resident
from .tag_shares import tag_shares

NO_TEXT = torch.zeros((1, 0)), torch.zeros(0)


@dataclass(frozen=True)
class Batch:
    """One micro batch. latents: [B, 4, h, w] scaled float32; context: [B, T, C]; y: [B, Y];
    weights: [B] float32; items: what was drawn, for the random draws of each sample;
    mask: [B, h, w] float32 in 0..1 under masked loss, of the latents' size or a multiple;
    deviations: [B, 4, h, w] scaled float32 where latents are means to draw a sample around;
    class_context, class_y: of the captions with the trigger replaced, under prior preservation;
    others: [B, N, T, C] and others_y: [B, N, Y], of the prompts that a slider needs beside the texts.
    Loaded without texts, contexts are empty and y and class_y hold the sizes alone (see
    trainer/training/live_encoding.py).
    """

    latents: Tensor
    context: Tensor
    y: Tensor
    weights: Tensor
    items: tuple[BatchItem, ...]
    mask: Tensor | None = None
    class_context: Tensor | None = None
    class_y: Tensor | None = None
    deviations: Tensor | None = None
    others: Tensor | None = None
    others_y: Tensor | None = None

    def to(self, device: torch.device, *, pins: bool = False) -> Batch:
        """On the device, with ``pins`` not waited for (see trainer/device/transfer.py)."""
        return self._each(lambda tensor: send(tensor, device, pins=pins), self.items)

    def split(self, size: int) -> Iterator[Batch]:
        """Pieces of at most `size` samples, in order."""
        for start in range(0, len(self.items), size):
            part = slice(start, start + size)
            yield self._each(operator.itemgetter(part), self.items[part])

    def _each(self, change: Callable[[Tensor], Tensor], items: tuple[BatchItem, ...]) -> Batch:
        """The batch with every tensor changed."""
        tensors = {n: change(v) for n, v in vars(self).items() if isinstance(v, Tensor)}
        return dataclasses.replace(self, **tensors, items=items)


class PlannedStep(NamedTuple):
    """One optimiser step to come. epoch: from 0; ends_epoch: whether it is the epoch's last."""

    epoch: int
    batches: list[tuple[BatchItem, ...]]
    ends_epoch: bool


class TrainingData:
    """Batches of a cached dataset in the order that (seed, epoch) fixes.

    ``window`` holds encodings of texts that are not on disk, context [T, C] and pooled [P]: those of
    captions that change from one use to the next (see trainer/batches/caption_window.py). ``masks`` holds the store's key
    of every item's mask, or None (see trainer/cache/masks.py); empty without masked loss. With ``live_texts`` no encoding
    is ever read: texts are encoded with every batch (see trainer/training/live_encoding.py).
    """

    def __init__(
        self,
        dataset: CachedDataset,
        text_fingerprint: str,
        store: Store | None = None,
        live_texts: bool = False,
    ) -> None:
        self.window: dict[str, tuple[Tensor, Tensor]] = {}
        self.masks: tuple[str | None, ...] = ()
        self._dataset = dataset
        self._text_fingerprint = text_fingerprint
        self._store = Store(dataset.store_root) if store is None else store
        self._entries = Resident(self._store)
        self._live_texts = live_texts
        self._shares: tuple[tuple[CaptionConfig, str], dict[str, float]] | None = None

    @property
    def dataset(self) -> CachedDataset:
        """What the batches are made of."""
        return self._dataset

    def parts(self, *datasets: CachedDataset) -> list[TrainingData]:
        """The data of datasets whose items, one after the other, are those of this one."""
        found, masks = [], self.masks
        for dataset in datasets:
            part = TrainingData(dataset, self._text_fingerprint, self._store, self._live_texts)
            part._entries = self._entries
            part.masks, masks = masks[: len(dataset.items)], masks[len(dataset.items) :]
            found.append(part)
        return found

    def steps(self, config: TrainConfig, start: int = 0) -> Iterator[PlannedStep]:
        """Endless steps after the first ``start``.

        Accumulation never crosses the end of an epoch: the last step of one may hold fewer
        batches, as kohya does it.
        """
        epoch = step = 0
        while True:
            batches = epoch_batches(self._dataset, config.batch_size, config.seed, epoch)
            for first in range(0, len(batches), config.accumulation):
                if step >= start:
                    after = first + config.accumulation
                    worded = [self._worded(b, config, epoch, step) for b in batches[first:after]]
                    yield PlannedStep(epoch, worded, after >= len(batches))
                step += 1
            epoch += 1

    def _worded(
        self, batch: Sequence[BatchItem], config: TrainConfig, epoch: int, step: int
    ) -> tuple[BatchItem, ...]:
        """The samples with their texts."""
        trigger, loss, worded = self._dataset.dataset.trigger, config.loss, []
        for shown in batch:
            text, other = self._text(shown, config, epoch, step), None
            if loss.preservation:
                other = class_caption(text, trigger, loss.preservation_class)
            others = config.slider.others
            worded.append(shown._replace(text=text, class_text=other, others=others))
        return tuple(worded)

    def _text(self, shown: BatchItem, config: TrainConfig, epoch: int, step: int) -> str:
        """A pure function of (seed, epoch, sample), and of the step where tokens are warmed up."""
        item = self._dataset.items[shown.item_index]
        is_made = has_template(item, config.embedding)
        text = None if is_made else item.plain_text(config.captions)
        if text is not None:
            return text
        draws = rng.python_random(config.seed, "caption", epoch, shown.item_index, shown.repeat)
        if is_made:
            return from_template(config.embedding, draws)
        shares = {} if item.is_reg or item.preserves else self._tag_shares(config)
        return item.sample_text(config.captions, draws, epoch + 1, step, config.steps, shares)

    def _tag_shares(self, config: TrainConfig) -> dict[str, float]:
        """How often tags stand beside the trigger; counted once."""
        asked = config.captions, config.embedding.token
        if self._shares is None or self._shares[0] != asked:
            self._shares = asked, tag_shares(self._dataset, *asked)
        return self._shares[1]

    def load(self, items: Sequence[BatchItem]) -> Batch:
        """Make a batch on the CPU, of what stays in memory or is read from disk; raises ValueError naming the image when an entry is gone."""
        rows = [self._row(item) for item in items]
        stored, contexts, pooled, sizes, weights = zip(*rows, strict=True)
        latents = torch.stack([one["latents"] for one in stored]) * VAE_SCALE
        deviations = None
        if self._dataset.recipe.deviations:
            deviations = torch.stack([one["deviation"] for one in stored]) * VAE_SCALE
        others = [self._encoding(i, i.class_text) for i in items if i.class_text is not None]
        class_context = class_y = None
        if others:
            class_context = texts.stack_contexts([context for context, _ in others])
            class_y = size_vector(torch.stack([pooled for _, pooled in others]), sizes)
        context_of_each, y_of_each = self._others(items, sizes)
        return Batch(
            latents=latents,
            context=texts.stack_contexts(contexts),
            y=size_vector(torch.stack(pooled), sizes),
            weights=torch.tensor(weights, dtype=torch.float32),
            items=tuple(items),
            mask=torch.stack([self._mask(item) for item in items]) if self.masks else None,
            class_context=class_context,
            class_y=class_y,
            deviations=deviations,
            others=context_of_each,
            others_y=y_of_each,
        )

    def _others(
        self, items: Sequence[BatchItem], sizes: Sequence[Sequence[int]]
    ) -> tuple[Tensor | None, Tensor | None]:
        """`Batch.others` and `Batch.others_y`; None where no sample has any."""
        found = [[self._encoding(item, text) for text in item.others] for item in items]
        if not found[0]:
            return None, None
        contexts = texts.stack_contexts([context for row in found for context, _ in row])
        columns = zip(*found, strict=True)
        ys = [size_vector(torch.stack([p for _, p in column]), sizes) for column in columns]
        return contexts.unflatten(0, (len(found), -1)), torch.stack(ys, dim=1)

    def latents(self, drawn: BatchItem) -> Tensor:
        """The unscaled latents [4, h, w] of a sample; raises ValueError when they are gone."""
        return self._stored(drawn)["latents"]

    def _stored(self, drawn: BatchItem) -> Mapping[str, Tensor]:
        """What the VAE made of a sample's image."""
        item = self._dataset.items[drawn.item_index]
        key = item.flipped_key if drawn.flipped and item.flipped_key else item.latent_key
        if key == NO_LATENT:
            width, height = (side // LATENT_PIXELS for side in item.bucket)
            return {"latents": torch.zeros(LATENT_CHANNELS, height, width)}
        stored = self._entries.load(cache.KIND, key)
        if stored is None:
            raise self._vanished("latents", item)
        return stored

    def varies(self, captions: CaptionConfig) -> bool:
        """Whether an image's encoded text changes from one use to the next and is needed beforehand."""
        return not self._live_texts and any(
            not item.texts(captions) for item in self._dataset.items
        )

    @collection_paused()
    def missing(self, config: TrainConfig) -> list[str]:
        """Names of the images whose latents or lasting encoded captions are not in the cache."""
        return [item.name for item in self._dataset.items if not self._is_cached(item, config)]

    def _is_cached(self, item: CachedItem, config: TrainConfig) -> bool:
        keys = [item.latent_key] + ([item.flipped_key] if item.flipped_key else [])
        trigger = self._dataset.dataset.trigger
        lasting = [] if self._live_texts else lasting_texts(item, trigger, config)
        return all(key == NO_LATENT or self._store.has(cache.KIND, key) for key in keys) and all(
            self._store.has(texts.KIND, self._text_key(text)) for text in lasting
        )

    def _text_key(self, text: str) -> str:
        return texts.text_key(self._text_fingerprint, text)

    def _encoded(self, text: str) -> tuple[Tensor, Tensor] | None:
        if text in self.window:
            return self.window[text]
        stored = self._entries.load(texts.KIND, self._text_key(text))
        return None if stored is None else (stored["context"], stored["pooled"])

    def _row(
        self, drawn: BatchItem
    ) -> tuple[Mapping[str, Tensor], Tensor, Tensor, tuple[int, ...], float]:
        item = self._dataset.items[drawn.item_index]
        size = item.flipped_conditioning if drawn.flipped else item.conditioning
        stored = self._stored(drawn)
        text = self._encoding(drawn, item.caption if drawn.text is None else drawn.text)
        numbers = (*size.original_hw, *size.crop_tl, *size.target_hw)
        return stored, *text, numbers, item.weight

    def _encoding(self, drawn: BatchItem, text: str) -> tuple[Tensor, Tensor]:
        """Context [T, C] and pooled [P] of a text of this sample."""
        if self._live_texts:
            return NO_TEXT
        found = self._encoded(text)
        if found is None:
            raise self._vanished("encoded caption", self._dataset.items[drawn.item_index])
        return found

    def _mask(self, drawn: BatchItem) -> Tensor:
        """[h, w]; ones where the image has no mask."""
        item, key = self._dataset.items[drawn.item_index], self.masks[drawn.item_index]
        if key is None:
            width, height = item.bucket
            return torch.ones(height // LATENT_PIXELS, width // LATENT_PIXELS)
        stored = self._entries.load(masks.KIND, key)
        if stored is None:
            raise self._vanished("mask", item)
        return stored["mask"].flip(-1) if drawn.flipped else stored["mask"]

    def _vanished(self, what: str, item: CachedItem) -> ValueError:
        return ValueError(
            f"The cached {what} of {item.name} vanished from {self._store.root} while training. "
            "Queue again: Cache Latents makes it again when one of its inputs changed."
        )
