"""The one owner of what the pack keeps in memory between nodes: the tagger's ONNX session."""

from __future__ import annotations

from dataclasses import dataclass

import comfy.model_management as mm

from ...tagger import ModelFiles, Provider, Tagger, choose_providers, open_session, read_labels
from ...tagger.wd14 import available_providers

SESSION_BYTES = 2 * 1024**3
"""What a tagger on the GPU may take: weights and a batch of activations."""


@dataclass
class Registry:
    """Holds at most one tagger; it is opened on demand and released before training."""

    _key: tuple[ModelFiles, Provider] | None = None
    _tagger: Tagger | None = None

    def tagger(self, files: ModelFiles, provider: Provider) -> Tagger:
        """The tagger for these files, opened if another or none is open."""
        if self._tagger is None or self._key != (files, provider):
            self.release()
            providers = choose_providers(available_providers(), provider)
            if providers[0] != "CPUExecutionProvider":
                mm.free_memory(SESSION_BYTES, mm.get_torch_device())
            self._tagger = Tagger(open_session(files.model, providers), read_labels(files.tags))
            self._key = (files, provider)
        return self._tagger

    def release(self) -> None:
        """Close the session and give its memory back."""
        self._tagger = self._key = None


REGISTRY = Registry()
