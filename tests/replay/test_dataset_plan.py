"""The recorded folder trees replay, and a wrong row is seen."""

import json
import shutil

import pytest

from pack.replay.case import Unsupported
from pack.replay.dataset_plan import cases


@pytest.fixture
def copy(golden, tmp_path):
    shutil.copy(golden / "dataset_plan.json", tmp_path)
    return tmp_path


def change(folder, alter):
    path = folder / "dataset_plan.json"
    recorded = json.loads(path.read_text(encoding="utf-8"))
    alter(recorded)
    path.write_text(json.dumps(recorded), encoding="utf-8")


def failed(folder):
    return [case.name.split(" ", 1)[1] for case in cases(folder) if not case.passed]


def test_every_recorded_tree_passes(golden):
    found = list(cases(golden))
    assert len(found) == 32 and all(case.passed for case in found)


@pytest.mark.parametrize(
    ("alter", "wrong"),
    [
        (lambda tree: tree.update(num_reg_images=4), ["images with repeats"]),
        (lambda tree: tree["images"][2].update(num_repeats=5), ["images"]),
        (lambda tree: tree["images"][0].update(caption="other"), ["images"]),
        (lambda tree: tree["images"][0].update(resized=[1, 1]), ["images"]),
        (lambda tree: tree["buckets"][0].update(count=1), ["buckets"]),
        (lambda tree: tree.update(batches_per_epoch=8), ["batches"]),
        (lambda tree: tree["batch_order_by_epoch"]["1"].pop(), ["epoch 1"]),
    ],
)
def test_a_wrong_row_fails_its_case(copy, alter, wrong):
    change(copy, lambda recorded: alter(recorded["reg_few"]))
    assert failed(copy) == wrong


def test_an_unknown_flag_is_named(copy):
    change(copy, lambda recorded: recorded["plain"]["args"].extend(["--random_crop"]))
    first, *_ = cases(copy)
    assert isinstance(first, Unsupported) and "random_crop = True" in str(first)
