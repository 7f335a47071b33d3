"""Every optimiser of the table: the library's own class called plainly, and a run cut in two."""

import importlib
import inspect
import io
from typing import get_args

import pytest
import torch
from torch import nn

from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.optimisers import KINDS, OWN_RATE, OptimiserType, find_kind
from pack.trainer.optim.optimiser import Optimiser, ParameterGroup

RATES = {name: 1.0 if name in OWN_RATE else 0.01 for name in get_args(OptimiserType)}


def toy():
    """A factor that is large enough for 8-bit states (4096 numbers and more), and a small one."""
    rng = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(64, 80, generator=rng)), nn.Parameter(torch.zeros(8, 4))]


def gradients(step):
    rng = torch.Generator().manual_seed(100 + step)
    return [torch.randn(64, 80, generator=rng) + 0.3, torch.randn(8, 4, generator=rng) - 0.2]


def kind_class(name):
    module = pytest.importorskip(KINDS[name].module)
    return getattr(module, KINDS[name].name)


def ours(name, parameters, **settings):
    config = OptimiserConfig(type=name, learning_rate=RATES[name], max_grad_norm=0.0, **settings)
    return Optimiser([ParameterGroup(parameters)], config)


def go(optimiser, parameters, steps, name):
    for step in steps:
        pairs = zip(parameters, gradients(step), strict=True)
        optimiser.backward(sum((p * g).sum() for p, g in pairs))
        assert optimiser.step(RATES[name]).applied


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
@pytest.mark.parametrize("name", get_args(OptimiserType))
def test_the_steps_are_those_of_the_class_itself(name):
    cls = kind_class(name)
    parameters, plain = toy(), toy()
    go(ours(name, parameters), parameters, range(8), name)
    own = {"weight_decay": 0.01} if "AdamW" in name and "ScheduleFree" not in name else {}
    if "Nesterov" in name:
        own = {"momentum": 0.9, "nesterov": True}
    rate = None if name == "Adafactor" else RATES[name]
    optimiser = cls([{"params": plain}], lr=rate, **own)
    if hasattr(optimiser, "train"):
        optimiser.train()
    for step in range(8):
        for parameter, gradient in zip(plain, gradients(step), strict=True):
            parameter.grad = gradient
        optimiser.step()
    assert not torch.equal(parameters[0], toy()[0])
    for a, b in zip(parameters, plain, strict=True):
        assert torch.equal(a, b)


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
@pytest.mark.parametrize("name", get_args(OptimiserType))
def test_a_run_cut_in_two_is_the_run_in_one_piece(name):
    """Bit for bit, with the state read back as a run reads it: weights only."""
    kind_class(name)
    whole, parts = toy(), toy()
    uncut = ours(name, whole)
    go(uncut, whole, range(7), name)
    first = ours(name, parts)
    go(first, parts, range(3), name)
    file = io.BytesIO()
    torch.save({"state": first.state(), "values": [p.detach() for p in parts]}, file)
    file.seek(0)
    kept = torch.load(file, weights_only=True)
    again = [nn.Parameter(value.clone()) for value in kept["values"]]
    second = ours(name, again)
    second.load(kept["state"])
    go(second, again, range(3, 7), name)
    uncut.finish()
    second.finish()
    for a, b in zip(whole, again, strict=True):
        assert torch.equal(a, b)


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
@pytest.mark.parametrize("name", [n for n in get_args(OptimiserType) if n.endswith("8bit")])
def test_the_moments_of_8_bit_kinds_are_kept_as_bytes(name):
    kind_class(name)
    parameters = toy()
    optimiser = ours(name, parameters)
    go(optimiser, parameters, range(2), name)
    large, small = (_tensors(optimiser.state()["optimiser"]["state"][i]) for i in (0, 1))
    assert next(t.dtype for t in large if t.numel() >= parameters[0].numel()) == torch.uint8
    assert all(t.dtype == torch.float32 for t in small)


def _tensors(values):
    """All tensors of a state, which bitsandbytes nests."""
    found = []
    for value in values.values():
        found += _tensors(value) if isinstance(value, dict) else [value]
    return [value for value in found if isinstance(value, torch.Tensor)]


@pytest.mark.parametrize("name", get_args(OptimiserType))
def test_kohyas_names_find_the_kind(name):
    assert find_kind(name) == find_kind(name.lower()) == name


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("DAdaptAdamPreprint", "DAdaptation"),
        ("torch.optim.RAdam", "RAdam"),
        ("prodigyplus.ProdigyPlusScheduleFree", "ProdigyPlusScheduleFree"),
        ("bitsandbytes.optim.AdEMAMix8bit", "AdEMAMix8bit"),
        ("torch.optim.SGD", "SGD"),
        ("LBFGS", None),
        ("os.system", None),
    ],
)
def test_other_names_of_kohya(name, kind):
    assert find_kind(name) == kind


def test_what_torch_has_beside_the_table_cannot_train_adapters():
    """Each for its reason, which the table names."""
    known = {kind.name for kind in KINDS.values() if kind.module == "torch.optim"}
    found = {
        name
        for name, cls in inspect.getmembers(torch.optim, inspect.isclass)
        if issubclass(cls, torch.optim.Optimizer)
    }
    left = found - known - {"Optimizer", "Adafactor"}  # kohya's Adafactor is transformers'
    assert left <= {"LBFGS", "SparseAdam", "Muon"}
    with pytest.raises(ValueError, match="only supports 2D"):
        importlib.import_module("torch.optim").Muon([nn.Parameter(torch.zeros(2, 2, 3, 3))])
