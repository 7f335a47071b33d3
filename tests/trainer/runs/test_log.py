"""The log in a run's folder: the pack's lines and how it ended, added to at every attempt."""

import logging

import pytest

from pack.trainer.runs.log import NAME, logged

PACK = logging.getLogger("pack.nodes.host.training.train")
OTHER = logging.getLogger("somebody.else")


def messages(folder):
    lines = (folder / NAME).read_text("utf-8").splitlines()
    return [line.split(" ", 2)[2] for line in lines]


def test_every_attempt_adds_its_lines(tmp_path, caplog):
    caplog.set_level("INFO")
    for step in (0, 7):
        with logged(tmp_path):
            PACK.info("LoRA Loop: begun at %d – so", step)
            OTHER.warning("not ours")
        PACK.info("too late")
    assert messages(tmp_path) == [f"INFO LoRA Loop: begun at {step} – so" for step in (0, 7)]


def test_how_it_ended_is_kept_and_told_nobody_else(tmp_path, caplog):
    caplog.set_level("INFO")
    with pytest.raises(ValueError), logged(tmp_path):
        raise ValueError("The cache is missing 3 images")
    assert messages(tmp_path) == ["ERROR ended by ValueError: The cache is missing 3 images"]
    with pytest.raises(KeyboardInterrupt), logged(tmp_path):
        raise KeyboardInterrupt
    text = (tmp_path / NAME).read_text()
    assert (
        "ended by KeyboardInterrupt" in text and "Traceback" in text and "test_how_it_ended" in text
    )
    assert caplog.text == ""


def test_nothing_said_is_no_file(tmp_path):
    with logged(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
