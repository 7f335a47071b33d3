"""The cards of runs: read once, and again when something changed."""

import os
import time

import pytest

from pack.nodes.host.pages import run_cards
from pack.nodes.host.pages.run_cards import RunCards
from pack.tests.trainer.runs.test_run_list import make
from pack.trainer.files.lock import folder_lock
from pack.trainer.lora_files.file import write_lora

pytestmark = pytest.mark.main_host


def settle(*folders):
    """As if nobody had touched these folders for a while."""
    for folder in folders:
        os.utime(folder, (time.time() - 60,) * 2)


@pytest.fixture
def made(tmp_path):
    paths = [make(tmp_path, n, days=3 - n, results=("steps-00000004",)) for n in (1, 2)]
    settle(*paths)
    return paths


@pytest.fixture
def read(monkeypatch):
    """The names of the runs that were read."""
    names, find = [], run_cards.find_run
    monkeypatch.setattr(
        run_cards, "find_run", lambda root, name: names.append(name) or find(root, name)
    )
    return names


def test_what_did_not_change_is_not_read_again(tmp_path, made, read):
    cards = RunCards()
    first = cards.cards(tmp_path)
    assert [card.run.path for card in first] == made[::-1] and len(read) == 2
    assert cards.cards(tmp_path) == first and len(read) == 2
    (made[0] / "kept-00000005.safetensors").write_bytes(b"")
    assert cards.cards(tmp_path)[0].run.steps == 5  # the latest now
    assert read[2:] == [made[0].name]


def test_what_changed_just_now_is_read_again(tmp_path, made, read):
    """A second change within one tick of the file system's clock would not be seen."""
    cards = RunCards()
    os.utime(made[1])
    for _ in range(2):
        cards.cards(tmp_path)
    assert read.count(made[1].name) == 2 and read.count(made[0].name) == 1


def test_a_run_that_is_trained_is_read_each_time_and_its_end_is_seen(tmp_path, made):
    cards = RunCards()
    with folder_lock(made[1]):
        settle(made[1])
        assert [card.status for card in cards.cards(tmp_path)] == ["training now", "finished"]
    settle(made[1])
    assert [card.status for card in cards.cards(tmp_path)] == ["finished", "finished"]


def test_a_run_that_is_gone_is_forgotten(tmp_path, made, read):
    cards = RunCards()
    cards.cards(tmp_path)
    made[1].rename(tmp_path / "elsewhere")
    assert [card.run.path for card in cards.cards(tmp_path)] == [made[0]]
    (tmp_path / "elsewhere").rename(made[1])
    assert len(cards.cards(tmp_path)) == 2 and read.count(made[1].name) == 2


def test_the_base_model_is_known_from_the_beginning_and_of_older_runs_by_their_lora(tmp_path, made):
    (made[0] / "steps-00000004.safetensors").unlink()
    write_lora(made[0] / "steps-00000004.safetensors", {}, {"ss_sd_model_name": "old.safetensors"})
    text = (made[1] / "run.json").read_text()
    (made[1] / "run.json").write_text(text[:-1] + ', "model": "new.safetensors"}')
    cards = {card.run.path: card.model for card in RunCards().cards(tmp_path)}
    assert cards == {made[0]: "old.safetensors", made[1]: "new.safetensors"}
