"""The recorded captions replay, and a wrong one is seen."""

import json
import shutil

import pytest

from pack.replay.captions import cases
from pack.replay.case import Unsupported


@pytest.fixture
def copy(golden, tmp_path):
    shutil.copy(golden / "captions.json", tmp_path)
    return tmp_path


def change(folder, alter):
    path = folder / "captions.json"
    recorded = json.loads(path.read_text(encoding="utf-8"))
    alter(recorded["cases"])
    path.write_text(json.dumps(recorded), encoding="utf-8")


def test_every_recorded_case_passes(golden):
    found = list(cases(golden))
    assert len(found) == 60 and all(case.passed for case in found)


def test_one_wrong_letter_fails_its_case(copy):
    change(copy, lambda rows: rows[7]["calls"][3].update(result="other"))
    assert [case.error for case in cases(copy) if not case.passed] == [1]


def test_an_unknown_setting_is_named_unless_it_is_off(copy):
    change(copy, lambda rows: rows[0]["settings"].update(something="x", other=0))
    first, *others = cases(copy)
    assert isinstance(first, Unsupported) and "something is no argument" in str(first)
    assert all(case.passed for case in others)
