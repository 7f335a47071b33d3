"""Parameters in one buffer: the same steps as torch's own over single ones, in as many operations."""

import io

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.optim.flat import Flat
from pack.trainer.optim.optimiser import Optimiser, ParameterGroup

SHAPES = [(4, 8), (16,), (2, 3, 4), (8, 8)]
CONFIG = OptimiserConfig(learning_rate=0.01, weight_decay=0.1, max_grad_norm=0.0)


def make_parameters(shapes=SHAPES):
    rng = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=rng)) for shape in shapes]


def pull(parameters, step):
    """A loss with other gradients at every step."""
    rng = torch.Generator().manual_seed(step)
    return sum((p * torch.randn(p.shape, generator=rng)).sum() for p in parameters)


def plain_adamw(parameters):
    return torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1)


def go(optimiser, reached, steps):
    for step in steps:
        optimiser.backward(pull(reached, step))
        assert optimiser.step(0.01).applied


def go_plainly(adamw, reached, steps):
    for step in steps:
        pull(reached, step).backward()
        adamw.step()
        adamw.zero_grad()


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


class Counted(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += "view" not in str(func) and "detach" not in str(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", ["AdamW", "Lion", "SGDNesterov", "RAdam"])
def test_a_step_has_as_many_operations_however_many_parameters_there_are(kind):
    counts = []
    for many in (2, 40):
        parameters = make_parameters([(4, 8)] * many)
        config = OptimiserConfig(type=kind, learning_rate=0.01)
        optimiser = Optimiser([ParameterGroup(parameters)], config)
        go(optimiser, parameters, range(2))
        optimiser.backward(pull(parameters, 2))
        with Counted() as counted:
            optimiser.step(0.01)
        counts.append(counted.calls)
    assert counts[0] == counts[1] < 40


def test_what_no_gradient_reaches_stays_as_it_is():
    ours, theirs = make_parameters(), make_parameters()
    start = ours[1].detach().clone()
    reached = [0, 2, 3]
    optimiser, adamw = Optimiser([ParameterGroup(ours)], CONFIG), plain_adamw(theirs)
    go(optimiser, [ours[i] for i in reached], range(5))
    go_plainly(adamw, [theirs[i] for i in reached], range(5))
    assert torch.equal(ours[1], start) and ours[1].grad is None
    assert_same(ours, theirs)
    assert optimiser.state()["optimiser"]["state"].keys() == {0, 2, 3}


def test_what_a_gradient_reaches_late_begins_then():
    """Its first step is corrected as a first one, while its neighbours are further."""
    ours, theirs = make_parameters(), make_parameters()
    optimiser, adamw = Optimiser([ParameterGroup(ours)], CONFIG), plain_adamw(theirs)
    for last, steps in ((2, range(3)), (4, range(3, 8))):
        go(optimiser, ours[:last], steps)
        go_plainly(adamw, theirs[:last], steps)
    assert_same(ours, theirs)
    states = optimiser.state()["optimiser"]["state"]
    assert [int(states[place]["step"]) for place in range(4)] == [8, 8, 5, 5]


def test_a_group_may_have_nothing_that_a_gradient_reaches():
    ours = make_parameters()
    groups = [ParameterGroup(ours[:1]), ParameterGroup(ours[1:3], 0.5), ParameterGroup(ours[3:])]
    optimiser = Optimiser(groups, CONFIG)
    start = [p.detach().clone() for p in ours]
    go(optimiser, ours[1:3], range(2))
    assert [torch.equal(a, b) for a, b in zip(ours, start, strict=True)] == [
        True,
        False,
        False,
        True,
    ]
    again = Optimiser(groups, CONFIG)
    again.load(optimiser.state())
    assert again.state()["optimiser"]["state"].keys() == {1, 2}


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_states_have_the_layout_of_single_parameters():
    """So those of runs before still load, and torch's own optimiser could go on from ours."""
    ours, theirs = make_parameters(), make_parameters()
    optimiser, adamw = Optimiser([ParameterGroup(ours)], CONFIG), plain_adamw(theirs)
    go(optimiser, ours, range(3))
    go_plainly(adamw, theirs, range(3))
    found = through_a_file(optimiser.state())["optimiser"]
    expected = adamw.state_dict()
    assert found["param_groups"] == expected["param_groups"]
    assert found["state"].keys() == expected["state"].keys()
    for place, values in expected["state"].items():
        assert found["state"][place].keys() == values.keys()
        for name, value in values.items():
            torch.testing.assert_close(found["state"][place][name], value)
    fresh = Optimiser([ParameterGroup(theirs)], CONFIG)  # theirs go on with ours, and the other way
    fresh.load({"optimiser": through_a_file(expected), "scaler": {}})
    other = plain_adamw(ours)
    other.load_state_dict(found)
    go(fresh, theirs, range(3, 6))
    go_plainly(other, ours, range(3, 6))
    assert_same(ours, theirs)


def test_gradients_stay_where_they_are():
    parameters = make_parameters()
    optimiser = Optimiser([ParameterGroup(parameters)], CONFIG)
    go(optimiser, parameters, range(1))
    places = [(p.data_ptr(), p.grad.data_ptr()) for p in parameters]
    go(optimiser, parameters, range(1, 3))
    assert places == [(p.data_ptr(), p.grad.data_ptr()) for p in parameters]
    storages = {p.grad.untyped_storage().data_ptr() for p in parameters}
    assert len(storages) == 1 and not any(p.grad.any() for p in parameters)


def test_the_norm_of_very_many_numbers_is_right():
    parameter = nn.Parameter(torch.zeros(10_000_000))
    flat = Flat(lambda groups: torch.optim.SGD(groups[0], lr=1.0), [[parameter]])
    parameter.grad = torch.rand(len(parameter), generator=torch.Generator().manual_seed(0))
    expected = float(parameter.grad.double().norm())
    assert float(flat.clip(1.0, 1.0)) == pytest.approx(expected, rel=1e-6)
    assert float(parameter.grad.double().norm()) == pytest.approx(1.0, rel=1e-5)
