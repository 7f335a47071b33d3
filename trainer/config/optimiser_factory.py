"""Makes the optimiser that a config names, and tries beforehand whether it works with its arguments."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from .optimisers import BY_SHAPE, FUSED, KINDS, is_relative, optimiser_class, own_defaults

_ON_CUDA = frozenset({"fused", "use_triton"})
"""Arguments that may work there alone."""
_STEPS = 3

_SAID_BY_CLASSES = (
    TypeError, ValueError, RuntimeError, AssertionError, ArithmeticError, LookupError, AttributeError,
)  # fmt: skip
"""What optimisers raise for arguments that they cannot take, the most as late as in a step."""


def make_optimiser(
    kind: str,
    groups: list[dict[str, Any]],
    learning_rate: float,
    arguments: Mapping[str, Any],
    device: torch.device,
) -> torch.optim.Optimizer:
    """The optimiser of torch's parameter groups, with kohya's defaults of its kind under the arguments.

    Fused where the device has that, unless the arguments say how it is to be computed.

    Raises:
        ValueError: its package is not installed, or it refuses the arguments.
    """
    known = KINDS[kind]
    try:
        cls = optimiser_class(known)
    except ImportError as error:
        raise ValueError(
            f"The optimiser {kind} needs the package {known.package}, which does not load here "
            f"({error}). Install it into ComfyUI's Python (pip install {known.package}) or choose "
            "another optimiser."
        ) from error
    values = {**known.defaults, **arguments}
    if kind in FUSED and device.type == "cuda" and not values.keys() & {"fused", "foreach"}:
        values["fused"] = True
    relative = is_relative(kind, values)
    if relative:
        values["relative_step"] = True  # warmup_init asks for it, as in kohya
        groups = [{k: v for k, v in group.items() if k != "lr"} for group in groups]
    if kind in BY_SHAPE:
        groups = [part for group in groups for part in _by_shape(group)]
    try:
        made = cls(groups, lr=None if relative else learning_rate, **values)
    except (*_SAID_BY_CLASSES, ImportError) as error:
        raise ValueError(f"The optimiser {kind} refuses its arguments: {error}") from error
    if hasattr(made, "is_paged"):
        made.is_paged = False  # bitsandbytes 0.50 never frees pages: they would stay with the host
    return made


def _by_shape(group: dict[str, Any]) -> list[dict[str, Any]]:
    """A group as pytorch_optimizer's Muon wants it: its matrices and its vectors, each said to be that."""
    parts = [
        {**group, "params": [p for p in group["params"] if is_matrix(p) == matrices]}
        | {"use_muon": matrices}
        for matrices in (True, False)
    ]
    return [part for part in parts if part["params"]]


def is_matrix(parameter: torch.Tensor) -> bool:
    """Whether an optimiser of `BY_SHAPE` treats it as a matrix; a convolution's factor is one, flattened."""
    return parameter.dim() >= 2


def try_arguments(
    kind: str, given: Mapping[str, Any], others: Mapping[str, Any], learning_rate: float
) -> list[str]:
    """What is wrong with the arguments ``given`` beside ``others``, as a sentence: three steps are tried.

    Nothing where they work on the CPU, and where the optimiser's package is not installed or cannot step
    there. Of several arguments the one is named without which the others work. Some are refused only in a
    step, some never: what is learned is infinite then.
    """
    try:
        optimiser_class(KINDS[kind])
    except ImportError:
        return []
    apart = _ON_CUDA if torch.cuda.is_available() else frozenset()
    tried = {name: value for name, value in given.items() if name not in apart}
    reason = _why_not(kind, {**others, **tried}, learning_rate) if tried else None
    if reason is None or _why_not(kind, others, learning_rate):
        return []
    without = {
        name: {**others, **{key: value for key, value in tried.items() if key != name}}
        for name in tried
    }
    alone = [name for name in tried if _why_not(kind, without[name], learning_rate) is None]
    names, usual = alone[:1] or tried, {**own_defaults(kind), **others}
    shown = ", ".join(f"{name}={tried[name]!r} (usual: {usual[name]!r})" for name in names)
    return [f"{kind} does not work with the optimiser argument {shown}: {reason}"]


@torch.inference_mode(False)
def _why_not(kind: str, arguments: Mapping[str, Any], learning_rate: float) -> str | None:
    """Why the steps cannot be done; None if they can.

    One parameter is large enough for 8-bit states; on one there is no pull, as on the down factors of a
    LoRA in its first step.
    """
    device, sizes = torch.device("cpu"), ((64, 64), (2, 3), (3,))
    parameters = [nn.Parameter(torch.full(size, 0.1, device=device)) for size in sizes]
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        try:
            groups = [{"params": parameters, "lr": learning_rate}]
            optimiser = make_optimiser(kind, groups, learning_rate, arguments, device)
            getattr(optimiser, "train", lambda: None)()  # schedule-free
            for _ in range(_STEPS):
                for parameter, pull in zip(parameters, (0.1, 0.0, 0.1), strict=True):
                    parameter.grad = torch.full_like(parameter, pull)
                optimiser.step()
        except _SAID_BY_CLASSES as error:
            lines = str(error.__cause__ or error).splitlines() or [type(error).__name__]
            return lines[0].rstrip(".")
    if not all(bool(parameter.isfinite().all()) for parameter in parameters):
        return f"what it learns is not finite any more after {_STEPS} steps"
    return None
