"""Sweep Report on made-up results of trainings."""

from pathlib import Path

import torch

from pack.nodes.host.comparing.sweep import sweep_report
from pack.trainer.config.train import TrainConfig
from pack.trainer.config.validation import ValidationConfig
from pack.trainer.curves.measurement import Measurement
from pack.trainer.lora_files.file import LoraModel
from pack.trainer.runs.run_folder import Result
from pack.trainer.runs.trained_lora import TrainedLora


def trained(seed, difference=None):
    """A LoRA of one run; without a difference nothing was held out."""
    held = ValidationConfig(held_out=0 if difference is None else 2)
    found = () if difference is None else (Measurement(3, difference, 0.001),)
    lora = LoraModel({"x": torch.zeros(1)}, {})
    result = Result(
        lora, (0.2, 0.1, 0.1), Path("run/steps-00000003.safetensors"), validations=found
    )
    return TrainedLora(lora, TrainConfig(steps=3, seed=seed, validation=held), result)


def test_a_run_that_came_twice_counts_once():
    """Also by two Train nodes, whose LoRAs are two objects."""
    first, again, other = trained(0, -0.1), trained(0, -0.1), trained(1, -0.2)
    found = sweep_report([first, first, again, other])
    assert found.text.startswith("2 runs of 1 setting\n")
    assert "Left out: 1 of 3 LoRAs" in found.text
    assert found.best is other
    assert "Left out" not in sweep_report([first, other]).text


def test_where_nothing_is_held_out_nothing_is_chosen():
    last = trained(1)
    found = sweep_report([trained(0), last])
    assert found.best is last
    assert (
        "that of the last run: nothing was chosen" in found.text and "best LoRA" not in found.text
    )
