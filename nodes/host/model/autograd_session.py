"""Autograd inside ComfyUI's inference mode, with every global that is touched put back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import comfy.model_management as mm
import numpy as np
import torch


@contextmanager
def training_session() -> Iterator[None]:
    """Normal autograd mode; on leaving, by whatever way, global state is as before."""
    with ExitStack() as stack:
        stack.enter_context(_preserved_rng())
        stack.enter_context(_in_training())
        stack.enter_context(_exact_accumulation())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        yield


def current_device(device: torch.device) -> AbstractContextManager[object]:
    """Its card is the current one, of several: ComfyUI orders copies of weights with that one's stream.

    ComfyUI does the same around sampling and encoding, so this need not be open there.
    """
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


@contextmanager
def _preserved_rng() -> Iterator[None]:
    """Put the global generators of python, numpy and torch back afterwards."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if cuda:
            torch.cuda.set_rng_state_all(cuda)


@contextmanager
def _in_training() -> Iterator[None]:
    """ComfyUI's own flag (0.16 and later), read by its quantised layers."""
    if not hasattr(mm, "in_training"):
        yield
        return
    before, mm.in_training = mm.in_training, True
    try:
        yield
    finally:
        mm.in_training = before


@contextmanager
def _exact_accumulation() -> Iterator[None]:
    """Undo `--fast fp16_accumulation` while gradients are computed: it overflows in backward."""
    matmul = torch.backends.cuda.matmul
    if not torch.cuda.is_available() or not hasattr(matmul, "allow_fp16_accumulation"):
        yield
        return
    before, matmul.allow_fp16_accumulation = matmul.allow_fp16_accumulation, False
    try:
        yield
    finally:
        matmul.allow_fp16_accumulation = before
