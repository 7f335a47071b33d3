"""The recorded prompt lines replay, and a wrong one is seen."""

import json

import pytest

from pack.replay.case import Unsupported
from pack.replay.prompts_and_names import cases


@pytest.fixture
def replay(golden, tmp_path):
    """A function: change what was recorded; the names of the cases that then fail."""

    def failed(change):
        recorded = json.loads((golden / "prompts_and_names.json").read_text("utf-8"))
        change(recorded)
        (tmp_path / "prompts_and_names.json").write_text(json.dumps(recorded), "utf-8")
        found = list(cases(tmp_path))
        assert [str(case) for case in found if isinstance(case, Unsupported)] == [
            "prompts_and_names: checkpoint_rotation"
        ]
        return [c.name for c in found if not isinstance(c, Unsupported) and not c.passed]

    return failed


def test_every_recorded_line_passes(replay):
    assert replay(lambda recorded: None) == []


def test_wrong_settings_and_lines_are_seen(replay):
    def spoil(recorded):
        recorded["parsed"][0]["seed"] = 43
        recorded["parsed"][1]["width"] = 512
        del recorded["parsed"][-1]

    assert replay(spoil) == [
        "prompts_and_names/lines",
        "prompts_and_names/a cat",
        "prompts_and_names/plain prompt",
    ]
