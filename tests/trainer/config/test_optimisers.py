"""Optimisers by name; their recorded numbers are in tests/replay/test_optimizers.py."""

import importlib.util
from typing import get_args

import pytest
import torch
from torch import nn

from pack.trainer.config import optimisers
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.optimiser_arguments import check_arguments, parse_arguments
from pack.trainer.config.optimisers import KINDS, OptimiserType
from pack.trainer.optim.optimiser import Optimiser, ParameterGroup

NAMES = get_args(OptimiserType)
INSTALLED = [name for name in NAMES if importlib.util.find_spec(KINDS[name].module.split(".")[0])]


def toy():
    rng = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(6, 4, generator=rng)), nn.Parameter(torch.zeros(3))]


def distance(parameters):
    return float(sum(((p.detach() - 1) ** 2).sum() for p in parameters))


def step(optimiser, parameters, rate, scale=1.0):
    loss = sum(((p - scale) ** 2).sum() for p in parameters)
    optimiser.backward(loss)
    return optimiser.step(rate)


def test_every_name_has_a_class():
    assert KINDS.keys() == set(NAMES)
    for name in INSTALLED:
        cls = getattr(importlib.import_module(KINDS[name].module), KINDS[name].name)
        assert issubclass(cls, torch.optim.Optimizer)


@pytest.mark.parametrize("name", INSTALLED)
def test_every_optimiser_brings_a_simple_loss_down(name):
    rate = 1.0 if name in optimisers.OWN_RATE or name == "Adadelta" else 0.01
    parameters = toy()
    optimiser = Optimiser(
        [ParameterGroup(parameters)], OptimiserConfig(learning_rate=rate, type=name)
    )
    before = distance(parameters)
    outcomes = [step(optimiser, parameters, rate) for _ in range(60)]
    optimiser.finish()
    assert distance(parameters) < before
    assert all(outcome.applied and outcome.learning_rate > 0 for outcome in outcomes)


@pytest.mark.parametrize("name", ["AdamW", "SGDNesterov", "Lion", "Adam"])
def test_the_learning_rate_of_a_step_is_the_one_given(name):
    still, moved = toy(), toy()
    for parameters, rate in ((still, 0.0), (moved, 0.1)):
        optimiser = Optimiser(
            [ParameterGroup(parameters)], OptimiserConfig(type=name, learning_rate=0.5)
        )
        assert step(optimiser, parameters, rate).learning_rate == rate
    assert all(torch.equal(a, b) for a, b in zip(still, toy(), strict=True))
    assert not torch.equal(moved[0], toy()[0])


def test_arguments_go_before_the_settings_of_adamw():
    config = OptimiserConfig(
        beta1=0.5, weight_decay=0.2, arguments=("weight_decay=0.3", "amsgrad=True")
    )
    assert config.constructor_arguments() == {
        "betas": (0.5, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.3,
        "amsgrad": True,
    }
    assert OptimiserConfig(type="Lion", beta1=0.5).constructor_arguments() == {}


def test_arguments_are_literals():
    lines = ["a=1", "b = (0.9, 0.99)", "c=True", "d=None", "e='x=y'"]
    assert parse_arguments(lines) == {"a": 1, "b": (0.9, 0.99), "c": True, "d": None, "e": "x=y"}


@pytest.mark.parametrize("line", ["a", "a=", "=1", "a b=1", "a=__import__('os')", "a=x", "a=[1"])
def test_anything_else_is_refused(line):
    with pytest.raises(ValueError, match="is not of the form key=value"):
        parse_arguments([line])
    with pytest.raises(ValueError, match="Optimiser settings: optimiser argument"):
        OptimiserConfig(arguments=(line,))


def test_an_unknown_argument_is_named_with_the_known_ones():
    (problem,) = check_arguments("AdamW", ["beta=0.5"])
    assert problem.startswith("AdamW has no argument beta; it has params, lr, betas")
    assert "set the learning rate itself" in check_arguments("AdamW", ["lr=1"])[0]


def test_a_package_that_is_missing_is_named_when_training_begins(monkeypatch):
    def missing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(optimisers.importlib, "import_module", missing)
    config = OptimiserConfig(type="Prodigy", learning_rate=1.0, arguments=("d_coef=2",))
    with pytest.raises(ValueError, match=r"needs the package prodigyopt.*pip install prodigyopt"):
        Optimiser([ParameterGroup(toy())], config)
    assert optimisers.class_name("Prodigy") == "prodigyopt.Prodigy"


def test_a_value_that_the_class_refuses_is_said():
    with pytest.raises(
        ValueError, match=r"Optimiser settings: AdamW does not work .* Invalid beta"
    ):
        OptimiserConfig(arguments=("betas=(2.0, 0.9)",))


def test_adafactor_finds_its_rate_itself_unless_told():
    own, fixed = toy(), toy()
    free = Optimiser([ParameterGroup(own)], OptimiserConfig(type="Adafactor", learning_rate=0.01))
    rates = {step(free, own, 0.01).learning_rate for _ in range(3)}
    assert 0.01 not in rates and len(rates) == 3
    arguments = ("relative_step=False", "scale_parameter=False")
    told = Optimiser(
        [ParameterGroup(fixed)], OptimiserConfig(type="Adafactor", arguments=arguments)
    )
    assert step(told, fixed, 0.01).learning_rate == 0.01


def test_adafactors_warmup_asks_for_its_own_rate():
    """kohya then sets relative_step, which transformers demands."""
    arguments = ("relative_step=False", "warmup_init=True")
    parameters = toy()
    optimiser = Optimiser(
        [ParameterGroup(parameters)], OptimiserConfig(type="Adafactor", arguments=arguments)
    )
    assert step(optimiser, parameters, 0.01).learning_rate < 1e-4


def test_a_schedule_free_optimiser_is_used_where_it_averages():
    parameters = toy()
    optimiser = Optimiser(
        [ParameterGroup(parameters)], OptimiserConfig(type="AdamWScheduleFree", learning_rate=0.1)
    )
    for _ in range(5):
        step(optimiser, parameters, 0.1)
    trained = [p.detach().clone() for p in parameters]
    with optimiser.averaged():
        averaged = [p.detach().clone() for p in parameters]
    assert not torch.equal(averaged[0], trained[0])
    assert torch.equal(parameters[0], trained[0])
    optimiser.finish()
    assert torch.equal(parameters[0], averaged[0])


def test_averaging_changes_nothing_for_others():
    parameters = toy()
    optimiser = Optimiser([ParameterGroup(parameters)], OptimiserConfig())
    step(optimiser, parameters, 0.1)
    trained = [p.detach().clone() for p in parameters]
    with optimiser.averaged():
        assert torch.equal(parameters[0], trained[0])
    optimiser.finish()
    assert torch.equal(parameters[0], trained[0])


@pytest.mark.parametrize(
    ("name", "rate", "noted"),
    [
        ("Prodigy", 3e-5, True),
        ("Prodigy", 1.0, False),
        ("DAdaptLion", 0.1, True),
        ("AdamW", 3e-5, False),
    ],
)
def test_a_low_rate_for_one_that_finds_its_own_is_noted(name, rate, noted):
    notes = OptimiserConfig(type=name, learning_rate=rate).notes()
    assert bool(notes) == noted and all("Set it to 1" in note for note in notes)


@pytest.mark.parametrize(
    "value",
    [
        "(" * 20_000, "-" * 20_000 + "1", "~" * 400 + "1", "[" * 21 + "]" * 21, "- - 1", "not 1",
        "9" * 400, "1e999", "(1, -1e999)", "{'a': 1e400}", "'" + "a" * 500 + "'", "1" * 20_000,
        "1+" * 10_000 + "1", "{" * 20_000, "'" * 20_000, "a.b", "f()", "1j" * 300, "\0",
    ],
)  # fmt: skip
def test_an_argument_that_is_too_much_is_refused_with_a_sentence(value):
    with pytest.raises(
        ValueError, match=r"is not of the form key=value .* 500 characters"
    ) as caught:
        parse_arguments([f"betas={value}"])
    assert len(str(caught.value)) < 1000
    with pytest.raises(ValueError, match="Optimiser settings"):
        OptimiserConfig(arguments=(f"betas={value}",))


def test_usual_arguments_are_read():
    lines = [
        "betas=(0.9, -0.99)",
        "eps=1e-30,1e-3",
        "a = None",
        "b='x-y'",
        "c=[1, 2]",
        "d={'x': -1}",
    ]
    assert parse_arguments(lines) == {
        "betas": (0.9, -0.99), "eps": (1e-30, 1e-3), "a": None, "b": "x-y", "c": [1, 2], "d": {"x": -1},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "rates", "odd"),
    [
        (
            "AdamW",
            {"learning_rate": 1.0},
            "learning_rate is 1, and AdamW usually takes 1e-07 to 0.05",
        ),
        ("AdamW", {"learning_rate": 1e-8}, "learning_rate is 1e-08"),
        ("AdamW8bit", {"text_encoder_1_rate": 0.3}, "text_encoder_1_rate is 0.3"),
        ("Lion", {"learning_rate": 0.03}, "learning_rate is 0.03"),
        (
            "Prodigy",
            {"learning_rate": 3e-5},
            "learning_rate is 3e-05, and Prodigy usually takes 0.1",
        ),
        ("AdamW", {"learning_rate": 3e-2}, None),
        ("AdamW", {"learning_rate": 1e-7, "text_encoder_2_rate": 1e-6}, None),
        ("Prodigy", {"learning_rate": 1.0}, None),
        ("Adagrad", {"learning_rate": 1.0}, None),
        ("SGD", {"learning_rate": 1.0}, None),
        ("Adafactor", {"learning_rate": 1.0}, None),
        (
            "Adafactor",
            {"learning_rate": 1.0, "arguments": ("relative_step=False",)},
            "is 1, and Adafa",
        ),
    ],
)
def test_a_rate_that_is_hardly_meant_is_asked_about(kind, rates, odd):
    config = OptimiserConfig(type=kind, **rates)
    if odd is None:
        config.check_rates()
    else:
        with pytest.raises(ValueError, match=odd):
            config.check_rates()
