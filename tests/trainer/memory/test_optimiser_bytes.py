import pytest
import torch
from torch import nn

from pack.trainer.config.optimiser import OptimiserConfig
from pack.trainer.memory.optimiser_bytes import learned_bytes

SHAPES = [(32, 1280), (1280, 32), (32, 640), (32, 640)]
COUNT = sum(a * b for a, b in SHAPES)


def each(kind="AdamW", **settings):
    """Bytes for each parameter."""
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in SHAPES]
    return learned_bytes(OptimiserConfig(type=kind, **settings), parameters) / COUNT


@pytest.mark.parametrize(
    ("kind", "kept"),
    [("AdamW", 2), ("SGD", 0), ("Adagrad", 1), ("ASGD", 1), ("Rprop", 2), ("Lion", 1),
     ("Prodigy", 4), ("AdamWScheduleFree", 2), ("SGDScheduleFree", 1), ("SGDNesterov", 1)],
)  # fmt: skip
def test_weight_gradient_and_what_the_optimiser_keeps(kind, kept):
    """Of each parameter so many float32 beside itself and its gradient."""
    assert each(kind) == 8 + 4 * kept


def test_a_moving_average_is_one_more():
    assert each(ema_decay=0.99) == each() + 4


def test_arguments_count():
    assert each(arguments=("amsgrad=True",)) == each() + 4
    assert each("SGD", arguments=("momentum=0.9",)) == each("SGD") + 4


def test_adafactor_keeps_rows_and_columns():
    pytest.importorskip("transformers")
    rows_and_columns = sum(a + b for a, b in SHAPES)
    assert each("Adafactor") == 8 + 4 * rows_and_columns / COUNT


def test_eight_bits_are_a_quarter():
    pytest.importorskip("bitsandbytes")
    assert 8 + 2 <= each("AdamW8bit") < 8 + 2.2


def test_nothing_is_drawn_and_nothing_changed():
    parameter = nn.Parameter(torch.ones(3, 3))
    before = torch.get_rng_state()
    learned_bytes(OptimiserConfig(), [parameter])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(parameter, torch.ones(3, 3)) and parameter.grad is None
