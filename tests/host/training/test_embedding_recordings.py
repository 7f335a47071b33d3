"""kohya's textual inversion, replayed through this ComfyUI's text encoders and UNet."""

import json

import pytest

from pack.replay import embedding

pytestmark = pytest.mark.slow


def test_recorded_runs_are_kohyas(golden):
    found = list(embedding.cases(golden))
    runs = json.loads((golden / "embedding" / "embedding.json").read_text("utf-8"))["runs"]
    assert len(found) == 5 * len(runs)
    assert [case for case in found if not case.passed] == []


def test_a_wrong_rate_shows(golden, monkeypatch):
    monkeypatch.setattr(embedding, "learning_rate", lambda *a: 0.9 * a[0].learning_rate)
    failed = {case.name.split()[-1] for case in embedding.cases(golden) if not case.passed}
    assert failed >= {"delta", "vectors"}
