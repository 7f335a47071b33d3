"""What Save LoRA writes beside the weights: the maker's words, an image, the graph."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from comfy.cli_args import args
from torch import Tensor

from ....trainer.config.about import About
from ....trainer.lora_files.metadata import without_private
from ....trainer.lora_files.modelspec import thumbnail_url
from ....trainer.lora_files.peft_config import DIFFUSERS_METADATA


class Hidden(Protocol):
    """ComfyUI's hidden inputs of a node, those that go into a file; None where it was not asked for."""

    @property
    def prompt(self) -> dict[str, Any] | None:
        """The graph as it is run."""
        ...

    @property
    def extra_pnginfo(self) -> dict[str, Any] | None:
        """What the browser sends along: the workflow."""
        ...


def file_metadata(
    lora: Mapping[str, Tensor],
    name: str,
    about: About,
    *,
    thumbnail: Tensor | None,
    hidden: Hidden | None,
    private: bool,
    strength: float | None = None,
) -> dict[str, str]:
    """The metadata of a LoRA that is saved under ``name``.

    ``thumbnail``: an IMAGE [N, H, W, C], of which the first is taken. ``hidden``: ComfyUI's hidden
    inputs, None outside a server. ``private``: without names of folders and tags, image and graph.
    ``strength``: the one to use it at, None where none was found.
    """
    stem = name.replace("\\", "/").rpartition("/")[2].removesuffix(".safetensors")
    own = dict(getattr(lora, "metadata", {}))
    own.pop(DIFFUSERS_METADATA, None)  # its scales are in what is written
    metadata = {**own, **about.keys(stem), **_graph(hidden)}
    if strength is not None:
        metadata["lora_loop.recommended_strength"] = f"{strength:g}"
        metadata["modelspec.usage_hint"] = f"strength {strength:g}, where its previews scored best"
    if thumbnail is not None:
        metadata["modelspec.thumbnail"] = thumbnail_url(thumbnail[0].float().cpu().numpy())
    return without_private(metadata) if private else metadata


def _graph(hidden: Hidden | None) -> dict[str, str]:
    """Prompt and workflow as ComfyUI writes them into its images; {} under --disable-metadata."""
    if args.disable_metadata:
        return {}
    workflow = (getattr(hidden, "extra_pnginfo", None) or {}).get("workflow")
    found = {"prompt": getattr(hidden, "prompt", None), "workflow": workflow}
    return {name: json.dumps(value) for name, value in found.items() if value is not None}
