"""What a run keeps of memory that was not there."""

import logging

import pytest

from pack.trainer.runs.lost_memory import FILE, note_unusable, unusable_bytes
from pack.trainer.runs.run_folder import Inputs, RunFolder


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path, Inputs("recipe", "data", "texts", "model"))
    folder.path.mkdir()
    return folder


def test_the_most_that_was_missing_counts(folder):
    assert unusable_bytes(folder) == 0
    for size, most in ((5, 5), (3, 5), (7, 7)):
        note_unusable(folder, size)
        assert unusable_bytes(folder) == most


@pytest.mark.parametrize("text", ["", "{}", '{"unusable": "much"}', '{"unusable": -1}', "[1]"])
def test_a_damaged_note_is_named_and_passed_over(folder, text, caplog):
    (folder.path / FILE).write_text(text, "utf-8")
    with caplog.at_level(logging.WARNING):
        assert unusable_bytes(folder) == 0
    assert FILE in caplog.text
    note_unusable(folder, 4)
    assert unusable_bytes(folder) == 4


def test_a_disk_that_is_full_ends_no_training(folder, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pack.trainer.runs.lost_memory.write_json", full)
    note_unusable(folder, 4)
    assert "memory" in folder.troubles.notice
