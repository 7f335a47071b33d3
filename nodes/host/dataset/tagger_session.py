"""The one owner of what the pack keeps in memory between nodes: the tagger's ONNX session."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import NamedTuple

import comfy.model_management as mm

from ....tagger import (
    CPU,
    Labels,
    ModelFiles,
    Provider,
    Tagger,
    available_providers,
    choose_providers,
    fallback,
    open_session,
    read_labels,
)

PICTURE_BYTES = 150 * 1024**2
"""Activations for one image of a batch: measured on wd-swinv2-tagger-v3's layers in fp32."""
WEIGHT_COPIES = 2
"""How often the weights may lie on the device while a session is opened."""

log = logging.getLogger(__name__)


class OpenTagger(NamedTuple):
    """A tagger on an open session, and in words where it runs."""

    tagger: Tagger
    where: str


@dataclass
class Registry:
    """Holds at most one tagger; it is opened on demand and released before training."""

    _key: tuple[str, Provider] | None = None
    _open: OpenTagger | None = None

    def tagger(
        self, files: ModelFiles, contents: str, provider: Provider, batch_size: int
    ) -> OpenTagger:
        """The tagger of these files, whose digest is `contents`; opened if another or none is open.

        On a GPU, ComfyUI makes room for it and for the batch first.
        """
        is_open = self._open is not None and self._key == (contents, provider)
        if not is_open:
            self.release()
        available = available_providers()
        providers = choose_providers(available, provider)
        if providers[0] != CPU:
            size = sum(path.stat().st_size for path in files.weights)
            weights = 0 if is_open else WEIGHT_COPIES * size
            mm.free_memory(weights + batch_size * PICTURE_BYTES, mm.get_torch_device())
        if self._open is None:
            tagger = Tagger(open_session(files.model, providers), read_labels(files.tags))
            where = f"on {tagger.provider}"
            if reason := fallback(tagger.provider, provider, available):
                where += f" {reason}"
                log.warning("LoRA Loop: tagging %s", where)
            self._open, self._key = OpenTagger(tagger, where), (contents, provider)
        return self._open

    @property
    def labels(self) -> Labels | None:
        """Those of the tagger that is open."""
        return None if self._open is None else self._open.tagger.labels

    def release(self) -> None:
        """Close the session and give its memory back."""
        self._open = self._key = None


REGISTRY = Registry()
