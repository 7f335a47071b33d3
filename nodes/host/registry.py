"""The one owner of what the pack keeps in memory between nodes: the tagger's ONNX session."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import NamedTuple

import comfy.model_management as mm

from ...tagger import (
    CPU,
    ModelFiles,
    Provider,
    Tagger,
    available_providers,
    choose_providers,
    fallback,
    open_session,
    read_labels,
)

SESSION_BYTES = 2 * 1024**3
"""What a tagger on the GPU may take: weights and a batch of activations."""

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

    def tagger(self, files: ModelFiles, contents: str, provider: Provider) -> OpenTagger:
        """The tagger of these files, whose digest is `contents`; opened if another or none is open."""
        if self._open is None or self._key != (contents, provider):
            self.release()
            available = available_providers()
            providers = choose_providers(available, provider)
            if providers[0] != CPU:
                mm.free_memory(SESSION_BYTES, mm.get_torch_device())
            tagger = Tagger(open_session(files.model, providers), read_labels(files.tags))
            where = f"on {tagger.provider}"
            if reason := fallback(tagger.provider, provider, available):
                where += f" {reason}"
                log.warning("LoRA Loop: tagging %s", where)
            self._open, self._key = OpenTagger(tagger, where), (contents, provider)
        return self._open

    def release(self) -> None:
        """Close the session and give its memory back."""
        self._open = self._key = None


REGISTRY = Registry()
