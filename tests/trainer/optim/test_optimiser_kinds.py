"""Every optimiser of the table: the library's own class called plainly, and a run cut in two."""

import importlib
import inspect
import io
from functools import partial
from typing import get_args

import pytest
import torch
from torch import nn

from pack.trainer.config import optimiser_factory
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.optimisers import KINDS, NOT_KOHYAS, OWN_RATE, OptimiserType, find_kind
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
    asked = {"use_muon": True} if name == "Muon" else {}  # both are matrices
    optimiser = cls([{"params": plain, **asked}], lr=rate, **own)
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
    again, second = cut(name, parts, 3)
    go(second, again, range(3, 7), name)
    assert same_states(uncut, second)
    uncut.finish()
    second.finish()
    for a, b in zip(whole, again, strict=True):
        assert torch.equal(a, b)


def cut(name, parts, steps):
    """A run of so many steps, and one that goes on from its state: its parameters and its optimiser."""
    first = ours(name, parts)
    go(first, parts, range(steps), name)
    file = io.BytesIO()
    torch.save({"state": first.state(), "values": [p.detach() for p in parts]}, file)
    file.seek(0)
    kept = torch.load(file, weights_only=True)
    again = [nn.Parameter(value.clone()) for value in kept["values"]]
    second = ours(name, again)
    second.load(kept["state"])
    return again, second


def same_states(one, other):
    """Whether the next steps of both depend on the same numbers, of the same dtypes."""
    states = [optimiser.state()["optimiser"]["state"] for optimiser in (one, other)]
    pairs = [(_tensors(states[0][place]), _tensors(states[1][place])) for place in states[0]]
    return all(
        a.dtype == b.dtype and torch.equal(a, b)
        for ours, theirs in pairs
        for a, b in zip(ours, theirs, strict=True)
    )


class HalfMoments(torch.optim.Optimizer):
    """Keeps its moments in the dtype ``kept`` whatever the parameters have; ``nested``: deep in its state."""

    def __init__(self, params, lr=0.01, *, kept, nested):
        super().__init__(params, {"lr": lr})
        self.kept, self.nested = kept, nested

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    zero = torch.zeros_like(p, dtype=self.kept)
                    state["n"] = torch.zeros((), dtype=torch.float64)
                    state.update({"more": {"m": [zero]}} if self.nested else {"m": zero})
                moment = state["more"]["m"][0] if self.nested else state["m"]
                state["n"] += 1 / 3
                moment.mul_(0.9).add_(p.grad, alpha=0.1)
                p -= group["lr"] * moment / state["n"]


@pytest.mark.parametrize("kept", [torch.bfloat16, torch.float16, torch.float64, torch.float32])
@pytest.mark.parametrize("name", ["ProdigyPlusScheduleFree", "AdamW"])
def test_states_keep_the_dtype_that_they_were_saved_with(name, kept, monkeypatch):
    """30 and 20 steps are 50, bit for bit; seen in one piece by one of the two names, one by one by the other."""
    made = partial(HalfMoments, kept=kept, nested=name != "AdamW")
    monkeypatch.setattr(optimiser_factory, "optimiser_class", lambda kind: made)
    monkeypatch.setattr(OptimiserConfig, "constructor_arguments", lambda self: {})
    whole = toy()
    uncut = ours(name, whole)
    go(uncut, whole, range(50), name)
    again, second = cut(name, toy(), 30)
    go(second, again, range(30, 50), name)
    assert same_states(uncut, second)
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))


def test_prodigy_plus_goes_on_with_states_in_bfloat16():
    name = "ProdigyPlusScheduleFree"
    kind_class(name)
    whole = toy()
    uncut = ours(name, whole)
    go(uncut, whole, range(50), name)
    again, second = cut(name, toy(), 30)
    state = second.state()["optimiser"]["state"][0]
    assert torch.bfloat16 in {tensor.dtype for tensor in _tensors(state)}
    go(second, again, range(30, 50), name)
    assert same_states(uncut, second)


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
        nested = dict(enumerate(value)) if isinstance(value, list) else value
        found += _tensors(nested) if isinstance(nested, dict) else [value]
    return [value for value in found if isinstance(value, torch.Tensor)]


@pytest.mark.parametrize("name", sorted({*get_args(OptimiserType)} - NOT_KOHYAS))
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
        ("pytorch_optimizer.Muon", "Muon"),
        ("pytorch_optimizer.CAME", "CAME"),
        ("Muon", None),  # torch's, which is another
        ("torch.optim.Muon", None),
        ("pytorch_optimizer.Conda", None),
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


def test_muon_turns_matrices_and_treats_vectors_as_adamw():
    """A step of a matrix has singular values near 1 times the rate, whatever the gradient; a vector's signs count."""
    module = pytest.importorskip("pytorch_optimizer")
    rng = torch.Generator().manual_seed(2)
    matrix, convolution, vector = (
        nn.Parameter(torch.zeros(shape)) for shape in ((8, 32), (8, 4, 3, 3), (6,))
    )
    config = OptimiserConfig(type="Muon", learning_rate=0.01, max_grad_norm=0.0)
    group = ParameterGroup([vector, matrix, convolution], factor=2.0)
    optimiser = Optimiser([group], config)
    pulls = [100.0 * torch.randn(p.shape, generator=rng) for p in (vector, matrix, convolution)]
    for parameter, pull in zip((vector, matrix, convolution), pulls, strict=True):
        parameter.grad = pull.clone()
    outcome = optimiser.step(0.01)
    assert outcome.learning_rate == pytest.approx(0.01)
    for parameter in (matrix, convolution):
        values = torch.linalg.svdvals(parameter.detach().flatten(1)) / 0.02
        assert float(values.min()) > 0.5 and float(values.max()) < 1.5
    assert torch.allclose(vector.detach(), -0.02 * pulls[0].sign(), rtol=1e-3)
    assert isinstance(optimiser._inner, module.Muon) and len(optimiser._inner.param_groups) == 2
