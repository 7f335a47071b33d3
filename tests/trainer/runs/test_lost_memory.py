"""What a run keeps when memory has run out."""

import logging

import pytest

from pack.trainer.runs.lost_memory import FILE, enough_bytes, note_enough
from pack.trainer.runs.run_folder import Inputs, RunFolder


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path, Inputs("recipe", "data", "texts", "model"))
    folder.path.mkdir()
    return folder


def test_the_least_that_had_to_do_counts(folder):
    assert enough_bytes(folder) is None
    for size, least in ((5, 5), (7, 5), (3, 3)):
        note_enough(folder, size)
        assert enough_bytes(folder) == least


@pytest.mark.parametrize("text", ["", "{}", '{"enough": "much"}', '{"enough": -1}', "[1]"])
def test_a_damaged_note_is_named_and_passed_over(folder, text, caplog):
    (folder.path / FILE).write_text(text, "utf-8")
    with caplog.at_level(logging.WARNING):
        assert enough_bytes(folder) is None
    assert FILE in caplog.text
    note_enough(folder, 4)
    assert enough_bytes(folder) == 4


def test_a_disk_that_is_full_ends_no_training(folder, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pack.trainer.runs.lost_memory.write_json", full)
    note_enough(folder, 4)
    assert "memory" in folder.troubles.notice
