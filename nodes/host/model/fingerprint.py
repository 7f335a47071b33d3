"""A digest of a model's contents: the same after a restart and whatever is loaded, another after any change."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator
from inspect import isfunction
from typing import Any

import torch

from .accounts import LOADING_CALLBACKS, OTHER_PARTS
from .contents import add_tensor, add_value, content_digest
from .flow import is_flow
from .host_types import Patcher
from .pristine import own_part, pristine_state


def fingerprint(patcher: Patcher, *extra: object, without: Collection[str] = ()) -> str:
    """Digest of keys, shapes, dtypes, sampled bytes, patches, model sampling and what else computes.

    patcher: a ModelPatcher (of a UNet, text encoders or VAE). extra: what else counts; without:
    keys of tensors that do not. All is read as this patcher has it, not as the loaded clone does.
    Nothing of a path or an id enters. nodes/host/model/accounts.py says what counts and what does not.
    """
    digest = hashlib.blake2b(digest_size=16)
    for key, value in sorted(pristine_state(patcher).items()):
        if key not in without:
            add_tensor(digest, key, value)
    for key, patches in sorted(patcher.patches.items(), key=lambda kv: str(kv[0])):
        digest.update(str(key).encode())
        add_value(digest, patches)
    sampling = own_part(patcher, "model_sampling")
    if sampling is not None:  # its class says what the model predicts, which no tensor does
        digest.update("/".join(c.__name__ for c in type(sampling).__mro__).encode())
        for key, value in sorted(sampling.state_dict().items()):
            add_tensor(digest, key, value)
        if is_flow(sampling):  # no tensor shows it
            add_value(digest, sampling.multiplier)
    for name, value in _unusual(patcher):
        digest.update(name.encode())
        add_value(digest, value)
    digest.update(repr(extra).encode())
    return digest.hexdigest()


def sampling_fingerprint(patcher: Patcher) -> str:
    """`fingerprint`, and what ComfyUI's samplers alone read: options, wrappers, callbacks, models beside it."""
    anything: Any = patcher
    names = ("model_options", "wrappers", "callbacks", "additional_models")
    return fingerprint(patcher, *(content_digest(getattr(anything, name, None)) for name in names))


def foreign(thing: object) -> list[tuple[str, object]]:
    """Methods of an object that are not of ComfyUI or a library under it: those of a node pack.

    Given to the object, to its class or by a class of the pack's own, by name. Decoding and loading
    are left out: no number of ours passes through them.
    """
    found = {
        name: held
        for name, held in vars(thing).items()
        if callable(getattr(type(thing), name, None))
    }
    for name in dir(type(thing)):
        held = getattr(type(thing), name, None)
        if isfunction(held) and not held.__module__.startswith(_KNOWN):
            found.setdefault(name, held)
    return sorted(item for item in found.items() if not re.search("decode|load|__init__", item[0]))


_KNOWN = ("comfy", "torch", "transformers")


def _unusual(patcher: Patcher) -> Iterator[tuple[str, object]]:
    """What else changes what this patcher computes. A freshly loaded one has none of it."""
    anything: Any = patcher
    dtype = _unusual_dtype(patcher)
    if dtype is not None:
        yield "computes in", dtype
    objects = {
        path: part for path, part in patcher.object_patches.items() if path not in OTHER_PARTS
    }
    yield from sorted(objects.items())
    yield from sorted(getattr(anything, "weight_wrapper_patches", {}).items())
    yield from _hooks(anything)
    yield from ((name, True) for name in sorted(getattr(anything, "injections", {})))
    yield from _heads(patcher.model)
    callbacks = getattr(anything, "callbacks", {})
    for kind in LOADING_CALLBACKS:
        found = [each for row in callbacks.get(kind, {}).values() for each in row]
        if found:
            yield kind, found
    yield from foreign(patcher)


def _unusual_dtype(patcher: Patcher) -> torch.dtype | None:
    """What is computed in, where that is not what weights of this kind are usually computed in.

    A UNet is computed in the dtype that it is stored in, text encoders in float32.
    """
    cast = own_part(patcher, "manual_cast_dtype")
    stored = getattr(patcher.model, "get_dtype", lambda: torch.float32)()
    return None if cast == stored else cast


def _heads(model: Any) -> Iterator[tuple[str, object]]:
    """What of a UNet's config no weight shows: how its attention is cut into heads."""
    config: Any = getattr(model, "model_config", None)
    usual = getattr(type(config), "unet_extra_config", {})
    for name, value in sorted(usual.items()):
        if config.unet_config.get(name, value) != value:
            yield name, config.unet_config[name]


def _hooks(patcher: Any) -> Iterator[tuple[str, object]]:
    """Weights that hooks add whenever this patcher is loaded: strengths over time, and patches."""
    group = getattr(patcher, "forced_hooks", None)
    for hook in () if group is None else group.hooks:
        frames = [
            (k.strength, k.start_percent, k.guarantee_steps) for k in hook.hook_keyframe.keyframes
        ]
        patches = patcher.hook_patches.get(hook.hook_ref, {})
        yield "hook", [type(hook), frames, dict(patches)]
