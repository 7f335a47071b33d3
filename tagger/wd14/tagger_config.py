"""What can be set about running a tagger."""

from __future__ import annotations

from dataclasses import dataclass

from ...base.config import Config, Problems
from .models import DEFAULT_MODEL
from .onnx_session import Provider


@dataclass(frozen=True)
class TaggerConfig(Config):
    """Which tagger runs, where, and how it reads images."""

    title = "Tagger settings"

    model: str = DEFAULT_MODEL
    """The tagger has this name, which is in `MODEL_NAMES` or lies in a folder of taggers."""
    provider: Provider = "auto"
    """The tagger runs on this; auto takes the GPU when onnxruntime has one."""
    batch_size: int = 8
    """So many images, 1 or more, are tagged at a time; only speed and memory depend on it."""
    model_path: str = ""
    """This folder or ONNX file of a tagger overrides ``model`` unless it is empty."""
    fast_decode: bool = False
    """Large JPEGs are decoded at a fraction of their size, so that a tag near its threshold may come or
    go."""

    def check(self, problems: Problems) -> None:
        problems.one_of("provider", self.provider, Provider)
        problems.need(
            self.batch_size >= 1, f"batch_size is {self.batch_size}; it must be at least 1"
        )

    @property
    def name(self) -> str:
        """What the tagger is called in reports."""
        return self.model_path.strip() or self.model
