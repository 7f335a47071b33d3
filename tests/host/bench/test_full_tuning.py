"""What full fine-tuning asks for, counted on SDXL's widths on the meta device."""

import re

import pytest
import torch

from pack.bench.counted.full_size import FullSize
from pack.bench.counted.full_tuning import CASES, SIDE, counted, rows
from pack.trainer.memory.plan import GIB, plans

pytestmark = [pytest.mark.main_host, pytest.mark.large]


@pytest.mark.parametrize("case", [case for case in CASES if case.narrow][-4:], ids=str)
def test_two_steps_in_bf16_need_what_is_planned(case):
    """SDXL with one transformer block at a place, of which attention is trained."""
    narrow = FullSize(1, torch.bfloat16)
    config = case.config()
    planned = min(plan.reserve for plan in plans(config, narrow.need(config, SIDE), None))
    assert planned - GIB < counted(narrow, case) <= planned


def test_the_benchmarks_have_the_table(root):
    """`python bench/plan.py --full` prints these lines."""
    text = (root / "docs" / "benchmarks.md").read_text("utf-8")
    said = re.findall(r"^\| [^|]+ \| (?:AdamW|Adafactor) \| o.*\|$", text, re.MULTILINE)
    sdxl = FullSize(dtype=torch.bfloat16)
    assert said == list(rows(sdxl))
