"""The parts of a MODEL, CLIP or VAE as the one asked about has them, whichever of its clones is loaded.

ComfyUI's clones share one module. Loading one of them writes its patches into that module and keeps
what was there before in dicts that all of them share; so what any of them would compute with can be
told without loading it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from .host_types import Patcher


def pristine_state(patcher: Patcher) -> dict[str, Tensor]:
    """Weights and buffers by key, without the patches of whichever clone is loaded."""
    state = dict(patcher.model.state_dict())
    for path, original in _originals(patcher).items():
        state = {key: value for key, value in state.items() if not f"{key}.".startswith(f"{path}.")}
        if isinstance(original, nn.Module):
            state |= {f"{path}.{key}": value for key, value in original.state_dict().items()}
        elif isinstance(original, Tensor):
            state[path] = original
    hooked: Mapping[str, Any] = getattr(patcher, "hook_backup", {})
    kept = {key: saved[0] for key, saved in hooked.items()}
    kept |= getattr(patcher, "backup_buffers", {})
    kept |= {key: saved.weight for key, saved in patcher.backup.items()}  # before hooks came on top
    return state | {key: value for key, value in kept.items() if key in state}


def own_part(patcher: Patcher, name: str) -> Any:
    """A part of the model as this patcher has it: its own patch, else what no clone has patched; or None."""
    for patched in (patcher.object_patches, _originals(patcher)):
        if name in patched:
            return patched[name]
    return getattr(patcher.model, name, None)


def take_patches_out(patcher: Any) -> None:
    """Put the parts back that an object patch of a loaded clone stands in for; loading puts them in again."""
    patcher.unpatch_model(unpatch_weights=False)


def _originals(patcher: Patcher) -> Mapping[str, Any]:
    """By path, what object patches of the loaded clone stand in for."""
    return getattr(patcher, "object_patches_backup", {})
