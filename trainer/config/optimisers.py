"""The optimisers that a run may use, by kohya's names: where each class lies and what it starts with.

A workflow may come from anybody, so only classes of this table are ever looked up, and their arguments
are literals (`optimiser_arguments.py`).
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import torch

OptimiserType = Literal[
    "AdamW",
    "AdamW8bit",
    "PagedAdamW",
    "PagedAdamW8bit",
    "PagedAdamW32bit",
    "Lion",
    "Lion8bit",
    "PagedLion8bit",
    "Prodigy",
    "Adafactor",
    "DAdaptation",
    "DAdaptAdaGrad",
    "DAdaptAdam",
    "DAdaptAdan",
    "DAdaptAdanIP",
    "DAdaptLion",
    "DAdaptSGD",
    "AdamWScheduleFree",
    "RAdamScheduleFree",
    "SGDScheduleFree",
    "ProdigyPlusScheduleFree",
    "SGDNesterov",
    "SGDNesterov8bit",
    "AdEMAMix8bit",
    "PagedAdEMAMix8bit",
    "ASGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "Adamax",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
    "CAME",
    "StableAdamW",
    "ADOPT",
    "Adan",
    "SOAP",
    "Muon",
]
"""Of torch.optim, left out: LBFGS asks for several losses a step, SparseAdam for sparse gradients, its Muon
takes matrices only (the adapters of convolutions are none). Of pytorch_optimizer those are taken whose state
is tensors and numbers, so that a run goes on to the bit."""


class Kind(NamedTuple):
    """Where an optimiser's class lies, the package that brings it, and what kohya gives it."""

    module: str
    name: str
    package: str = ""
    defaults: Mapping[str, Any] = {}


_NESTEROV = {"momentum": 0.9, "nesterov": True}
_BITSANDBYTES = {
    name: Kind("bitsandbytes.optim", name, "bitsandbytes")
    for name in (
        "AdamW8bit", "PagedAdamW", "PagedAdamW8bit", "PagedAdamW32bit", "Lion8bit", "PagedLion8bit",
        "AdEMAMix8bit", "PagedAdEMAMix8bit",
    )
}  # fmt: skip
_DADAPTATION = {
    name: Kind("dadaptation", name, "dadaptation")
    for name in ("DAdaptAdaGrad", "DAdaptAdam", "DAdaptAdan", "DAdaptLion", "DAdaptSGD")
}
_SCHEDULE_FREE = {
    name: Kind("schedulefree", name, "schedulefree")
    for name in ("AdamWScheduleFree", "RAdamScheduleFree", "SGDScheduleFree")
} | {
    "ProdigyPlusScheduleFree": Kind(
        "prodigyplus", "ProdigyPlusScheduleFree", "prodigy-plus-schedule-free"
    )
}
_PYTORCH_OPTIMIZER = {
    name: Kind("pytorch_optimizer", name, "pytorch_optimizer")
    for name in ("CAME", "StableAdamW", "ADOPT", "Adan", "SOAP", "Muon")
}
KINDS: dict[str, Kind] = {
    **{name: Kind("torch.optim", name) for name in get_args(OptimiserType)},
    **_BITSANDBYTES,
    **_DADAPTATION,
    **_SCHEDULE_FREE,
    **_PYTORCH_OPTIMIZER,
    "Lion": Kind("lion_pytorch", "Lion", "lion-pytorch"),
    "Prodigy": Kind("prodigyopt", "Prodigy", "prodigyopt"),
    "Adafactor": Kind("transformers.optimization", "Adafactor", "transformers"),
    "DAdaptation": Kind("dadaptation.experimental", "DAdaptAdamPreprint", "dadaptation"),
    "DAdaptAdanIP": Kind("dadaptation.experimental", "DAdaptAdanIP", "dadaptation"),
    "SGDNesterov": Kind("torch.optim", "SGD", "", _NESTEROV),
    "SGDNesterov8bit": Kind("bitsandbytes.optim", "SGD8bit", "bitsandbytes", _NESTEROV),
}

ONE_RATE = frozenset({"Prodigy", *_DADAPTATION, "DAdaptation", "DAdaptAdanIP"})
"""Optimisers that find one learning rate for all parameters."""

OWN_RATE = ONE_RATE | {"ProdigyPlusScheduleFree"}
"""Optimisers that find the learning rate themselves: theirs is a factor and belongs near 1."""

ELEMENTWISE = frozenset(n for n, kind in KINDS.items() if kind.module == "torch.optim") | {"Lion"}
"""Optimisers that treat every number by itself, so that it does not matter how they are cut into tensors.
Others look at whole tensors (Adafactor), at blocks of them (`is_blockwise`), or may do so one day."""

FUSED = frozenset({"AdamW", "Adam"})
"""Those that torch has as one kernel on CUDA."""

STEPS_ALONE = ("Adafactor", "AdamW", "AdamW8bit")
"""Those that may step one parameter at a time, within backward: nothing of theirs is of all parameters."""

ONE_AT_A_TIME = ELEMENTWISE | {"Adafactor", *_BITSANDBYTES, "SGDNesterov8bit"}
"""Those that may step one parameter at a time, after backward: so weights in bf16 are stepped."""

SCHEDULE_FREE = frozenset(_SCHEDULE_FREE)
"""Optimisers that train at one point and have the average of their way as result."""

BY_SHAPE = frozenset({"Muon"})
"""Optimisers that treat matrices in one way and vectors in another, as AdamW does, each in groups of their own."""

NOT_KOHYAS = frozenset({"Muon"})
"""Names that mean another class in kohya, torch's; ours is found as `pytorch_optimizer.Muon`."""

LOW_RATE = 0.1
"""Up to this learning rate kohya warns with one of them."""

USUAL_RATES: dict[str, tuple[float, float]] = {
    **{name: (1e-7, 0.05) for name in get_args(OptimiserType) if "Ada" in name or "AdEMA" in name},
    **{name: (1e-8, 0.01) for name in get_args(OptimiserType) if "Lion" in name},
    **dict.fromkeys(("Adadelta", "Adagrad"), (1e-07, 10.0)),
    **dict.fromkeys(("CAME", "ADOPT", "SOAP", "Muon"), (1e-7, 0.05)),
    **dict.fromkeys(OWN_RATE, (LOW_RATE, 10.0)),
}
"""The learning rates that an optimiser may be meant to have; what lies outside is a slip of the hand."""

ADAMW_ALIKE = (
    frozenset(name for name in get_args(OptimiserType) if "AdamW" in name)
    - SCHEDULE_FREE
    - {"StableAdamW"}
)
"""Those that take betas, epsilon and weight decay from the settings of their own; others from arguments."""


_NAMES = {
    **{
        f"{kind.module}.{kind.name}".lower(): name
        for name, kind in KINDS.items()
        if not kind.defaults
    },
    **{name.lower(): name for name in KINDS if name not in NOT_KOHYAS},
    "dadaptadampreprint": "DAdaptation",
}


def find_kind(optimizer_type: str) -> str | None:
    """Our name of kohya's optimizer_type, in any case, or as `package.Class`; None if it is not in the table."""
    return _NAMES.get(optimizer_type.lower())


def class_name(kind: str) -> str:
    """``module.Class`` as kohya names it in the metadata."""
    known = KINDS[kind]
    try:
        cls = optimiser_class(known)
    except ImportError:
        return f"{known.module}.{known.name}"
    return f"{cls.__module__}.{cls.__name__}"


def own_defaults(kind: str) -> dict[str, Any]:
    """What the optimiser's class takes where nothing is given; {} where its package is not installed."""
    try:
        parameters = inspect.signature(optimiser_class(KINDS[kind])).parameters
    except ImportError:
        return {}
    return {name: parameter.default for name, parameter in parameters.items()}


def is_relative(kind: str, arguments: Mapping[str, Any]) -> bool:
    """Whether Adafactor sets its own learning rate: its default, as in kohya."""
    return kind == "Adafactor" and bool(
        arguments.get("relative_step", True) or arguments.get("warmup_init", False)
    )


def is_blockwise(kind: str) -> bool:
    """Whether it is one of bitsandbytes, which looks at nothing larger than a block of a tensor.

    Before 0.50 it could be told to look at whole tensors (block_wise, percentile_clipping).
    """
    if kind not in _BITSANDBYTES and kind != "SGDNesterov8bit":
        return False
    try:
        general = optimiser_class(KINDS["AdamW8bit"])
    except ImportError:
        return False
    return "block_wise" not in inspect.signature(general).parameters


def optimiser_class(kind: Kind) -> Any:
    found = getattr(importlib.import_module(kind.module), kind.name)
    if not issubclass(found, torch.optim.Optimizer):
        raise ImportError(f"{kind.module}.{kind.name} is no torch optimiser")
    return found
