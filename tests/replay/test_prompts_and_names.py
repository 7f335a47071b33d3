"""The recorded prompt lines and checkpoints replay, and a wrong one is seen."""

import json

import pytest

from pack.replay.prompts_and_names import cases


@pytest.fixture
def replay(golden, tmp_path):
    """A function: change what was recorded; the names of the cases that then fail."""

    def failed(change):
        recorded = json.loads((golden / "prompts_and_names.json").read_text("utf-8"))
        change(recorded)
        (tmp_path / "prompts_and_names.json").write_text(json.dumps(recorded), "utf-8")
        return [case.name for case in cases(tmp_path) if not case.passed]

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


def test_wrong_checkpoints_are_seen(replay):
    def spoil(recorded):
        by_epoch, _, by_step, _ = recorded["checkpoint_rotation"]
        by_epoch["removed"]["6"] = 2
        by_step["name"] = "x-000010.safetensors"

    assert replay(spoil) == [
        "prompts_and_names/every 2 epochs, last 3",
        "prompts_and_names/every 10 steps, last 30",
    ]
