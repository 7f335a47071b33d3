"""Arguments of optimisers: whatever is given, it works in every step or is a sentence before any work."""

import inspect
from typing import get_args

import pytest
import torch
from torch import nn

from pack.trainer.config import optimiser
from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.config.optimisers import KINDS, OWN_RATE, OptimiserType, optimiser_class
from pack.trainer.optim.optimiser import Optimiser, ParameterGroup

VALUES = ["None", "True", "-1", "0", "2.5", "'x'", "(0.9,)", "(0.9, 0.9, 0.9, 0.9)", "{}"]
"""Of wrong types and counts, at least for most arguments."""


def toy():
    """As adapters begin: one that a gradient pulls, one that has zeros as gradient, and a vector."""
    return [nn.Parameter(torch.full(size, 0.5)) for size in ((64, 80), (8, 4), (3,))]


def train(config, steps=4):
    parameters = toy()
    made = Optimiser([ParameterGroup(parameters)], config)
    for _ in range(steps):
        pulled, idle, vector = parameters
        loss = pulled.square().sum() + (idle * 0).sum() + vector.square().sum()
        made.backward(loss)
        made.step(config.learning_rate)
    made.state()


def refusal(kind, *lines):
    """The sentence with which arguments are refused; None where they train."""
    rate = 1.0 if kind in OWN_RATE else 0.01
    try:
        config = OptimiserConfig(type=kind, learning_rate=rate, arguments=lines)
    except ValueError as error:
        return str(error)
    train(config)
    return None


def arguments_of(kind):
    pytest.importorskip(KINDS[kind].module)
    found = inspect.signature(optimiser_class(KINDS[kind])).parameters
    return [name for name in found if name not in ("params", "lr", "kwargs")]


def check(kind, values):
    """Each argument by itself, with every value: refused in one line that names it, or trained with."""
    for name in arguments_of(kind):
        for value in values:
            sentence = refusal(kind, f"{name}={value}")
            assert sentence is None or (f"{name}=" in sentence and "\n" not in sentence)


@pytest.mark.parametrize("kind", ["AdamW", "Lion", "Prodigy", "Rprop"])
def test_no_argument_ends_in_a_raw_error(kind):
    check(kind, VALUES[::3])


@pytest.mark.large
@pytest.mark.parametrize("kind", get_args(OptimiserType))
def test_nor_of_any_kind_with_any_value(kind):
    check(kind, VALUES)


def test_without_trying_steps_the_error_is_raw(monkeypatch):
    """The planted fault: only types are looked at, and the optimiser's own error comes in a step."""
    monkeypatch.setattr(optimiser, "try_arguments", lambda *_: [])
    with pytest.raises(ValueError, match=r"^slice step cannot be zero$"):
        refusal("Prodigy", "slice_p=0")


@pytest.mark.parametrize(
    ("kind", "line", "sentence"),
    [
        ("AdamW", "betas=(0.9,)", "betas=(0.9,) of AdamW takes 2 numbers, such as (0.9, 0.999)"),
        ("AdamW", "betas=0.9", "betas=0.9 of AdamW takes 2 numbers, such as"),
        ("AdamW", "betas=(0.9, None)", "betas=(0.9, None) of AdamW takes 2 numbers"),
        (
            "AdamW",
            "weight_decay='high'",
            "weight_decay='high' of AdamW takes a number, such as 0.01",
        ),
        ("AdamW", "amsgrad='False'", "amsgrad='False' of AdamW takes True or False"),
        ("AdamW", "foreach=2", "foreach=2 of AdamW takes True or False"),
        ("AdamW", "capturable=True", "which no run does: leave it out"),
        ("AdamW", "differentiable=True", "which no run needs: leave it out"),
        ("SGD", "maximize=True", "maximize=True of SGD would raise the loss: leave it out"),
        ("Prodigy", "fsdp_in_use=True", "is for a model on several devices: leave it out"),
        ("AdamW", "eps=-1", "eps=-1 (usual: 1e-08): Invalid epsilon value: -1"),
        ("AdamW", "eps=0", "eps=0 (usual: 1e-08): what it learns is not finite any more"),
        ("SGD", "nesterov=True", "nesterov=True (usual: False): Nesterov momentum requires"),
        ("Prodigy", "slice_p=0", "slice_p=0 (usual: 1): slice step cannot be zero"),
        ("SOAP", "kwargs={}", "SOAP has no argument kwargs; it has params, lr, betas"),
    ],
)
def test_the_sentence_says_which_argument_what_was_given_and_what_it_takes(kind, line, sentence):
    pytest.importorskip(KINDS[kind].module)
    assert sentence in refusal(kind, line)


def test_of_several_the_one_at_fault_is_named():
    found = refusal("Prodigy", "decouple=True", "slice_p=0", "d_coef=2")
    assert "slice_p=0" in found and "decouple" not in found and "d_coef" not in found


def test_fused_and_foreach_exclude_each_other():
    assert "only one can be True" in refusal("AdamW", "fused=True", "foreach=True")


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("AdamW", ["betas=0.9, 0.99", "eps=1e-7", "weight_decay=0.1", "amsgrad=True"]),
        ("AdamW", ["foreach=False", "capturable=False", "maximize=False", "fused=None"]),
        ("Lion", ["betas=[0.95, 0.98]", "weight_decay=1"]),
        ("Prodigy", ["decouple=True", "d_coef=0.5", "use_bias_correction=True", "beta3=None",
                     "safeguard_warmup=True", "betas=(0.9, 0.99)", "weight_decay=0.01"]),
        ("Adafactor", ["scale_parameter=False", "relative_step=False", "warmup_init=False",
                       "eps=(1e-30, 1e-3)", "beta1=None"]),
        ("AdamW8bit", ["weight_decay=0.01", "min_8bit_size=16384", "betas=(0.9, 0.95)"]),
        ("AdEMAMix8bit", ["alpha=2", "t_alpha=100", "t_beta3=None"]),
        ("DAdaptAdam", ["decouple=True", "growth_rate=1.02"]),
        ("ProdigyPlusScheduleFree", ["use_speed=True", "split_groups=False", "prodigy_steps=100"]),
        ("SGDNesterov", ["momentum=0.8"]),
        ("CAME", ["betas=(0.9, 0.999, 0.9999)", "clip_threshold=1.0", "weight_decay=0.01"]),
        ("Muon", ["momentum=0.9", "use_adjusted_lr=True", "ns_steps=6"]),
    ],
)  # fmt: skip
def test_usual_arguments_pass(kind, lines):
    pytest.importorskip(KINDS[kind].module)
    assert refusal(kind, *lines) is None


def test_trying_leaves_no_trace(recwarn):
    before = torch.get_rng_state()
    with torch.inference_mode():  # as a node checks its settings
        assert OptimiserConfig(arguments=("amsgrad=True",)).arguments
    assert torch.equal(torch.get_rng_state(), before) and not recwarn.list


def test_an_optimiser_that_steps_on_cards_alone_is_not_tried(monkeypatch):
    """As older versions of bitsandbytes: an error without arguments says nothing of them."""

    def step(self):
        raise NotImplementedError("no kernel for the CPU")

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    assert OptimiserConfig(arguments=("amsgrad=True",)).arguments


def test_what_only_a_card_can_do_is_not_tried_on_the_cpu(monkeypatch):
    """Lion's kernels in Triton: refused where there is no card, left to the run where there is one."""
    assert "use_triton=True" in refusal("Lion", "use_triton=True")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert OptimiserConfig(type="Lion", arguments=("use_triton=True",)).arguments
