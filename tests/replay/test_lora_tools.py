"""What kohya's LoRA tools made of small files: as ours where they are right, and beside ours where not."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from pack.replay import lora_tools
from pack.replay.case import Case, Unsupported
from pack.trainer.lora_tools.extract import extract
from pack.trainer.lora_tools.merge import merge
from pack.trainer.lora_tools.resize import Size, resize

NAMES = ["resize_3", "resize_3_conv_1", "merge_alone", "merge_concat", "into_model", "into_model_lbw", "extract_4"]  # fmt: skip


@pytest.fixture(scope="module")
def recorded(golden):
    return lora_tools.Recorded(load_file(golden / "lora_tools" / "lora_tools.safetensors"))


def share(ours, theirs):
    """How many times the change of each layer theirs is; they have one direction."""
    found = []
    for stem, layer in ours.items():
        one, other = layer.change(), theirs[stem]
        times = float((one * other).sum() / (one * one).sum())
        assert torch.allclose(other, times * one, atol=1e-5)
        found.append(times)
    return found


def test_all_recorded_numbers_are_ours(golden):
    cases = list(lora_tools.cases(golden))
    assert all(isinstance(case, Case) for case in cases)
    assert [case.name for case in cases] == [f"lora_tools/{name}" for name in NAMES]
    assert [case.name for case in cases if not case.passed] == []
    about = json.loads((golden / "lora_tools" / "lora_tools.json").read_text())["cases"]
    assert {*about} == {*NAMES, *lora_tools.ELSEWHERE}


def test_a_wrong_number_fails_and_an_unknown_case_is_named(golden, tmp_path):
    about = json.loads((golden / "lora_tools" / "lora_tools.json").read_text())
    tensors = load_file(golden / "lora_tools" / "lora_tools.safetensors")
    for name in NAMES:
        key = next(k for k in tensors if k.startswith(f"{name}/") and not k.endswith(".alpha"))
        tensors[key].view(-1)[3] += 0.01
    (tmp_path / "lora_tools").mkdir()
    about["cases"]["rotate"] = {}
    (tmp_path / "lora_tools" / "lora_tools.json").write_text(json.dumps(about))
    save_file(tensors, tmp_path / "lora_tools" / "lora_tools.safetensors")
    cases = list(lora_tools.cases(tmp_path))
    assert [str(case) for case in cases if isinstance(case, Unsupported)] == ["lora_tools/rotate"]
    assert [case.name for case in cases if isinstance(case, Case) and case.passed] == []


@pytest.mark.parametrize(
    ("case", "strengths", "theirs", "ours"),
    [("merge_concat_itself", (0.5, 0.5), 0.25, 1.0), ("merge_sum_itself", (0.8, 0.4), 1.44, 1.2)],
)
def test_a_lora_merged_with_itself_is_the_sum_of_strengths(recorded, case, strengths, theirs, ours):
    one = recorded.layers("a")
    assert share(one, recorded.changes(case)) == pytest.approx([theirs] * len(one), abs=1e-5)
    made = merge([(one, strength) for strength in strengths])
    changes = {stem: layer.change() for stem, layer in made.items()}
    assert share(one, changes) == pytest.approx([ours] * len(one), abs=1e-6)


def test_a_share_of_the_norm_keeps_no_rank_too_many(recorded):
    """kohya's sv_fro is a share of the norm, energy one of its square; it counts one rank further."""
    size = Size(6, energy=0.9**2)
    made, theirs = resize(recorded.layers("a"), size), recorded.layers("resize_fro_0.9")
    more = {stem: theirs[stem].rank - kept.layer.rank for stem, kept in made.items()}
    assert set(more.values()) == {1}
    for kept in made.values():
        assert 1 - kept.lost / kept.energy >= size.energy
        fewer = resize({"": kept.layer}, Size(max(kept.layer.rank - 1, 1)))[""]
        assert (
            kept.layer.rank == 1 or kept.energy - kept.lost - fewer.lost < size.energy * kept.energy
        )


def test_a_clamp_makes_the_difference_worse(recorded):
    clamped = recorded.changes("extract_4_clamped")
    for stem, change in recorded.of("difference").items():
        kept = extract(change, Size(4, conv_rank=3), stem)
        assert float((clamped[stem] - change).norm()) > (1 + 1e-4) * math.sqrt(kept.lost)
