"""The card of a rank, and what ranks say of each other when they meet."""

import pytest
import torch

from pack.tests.trainer.several import together
from pack.trainer.device.ranks import ALONE, joined, take_card


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ({}, None),
        ({"WORLD_SIZE": "1", "LOCAL_RANK": "0"}, None),
        ({"WORLD_SIZE": "4", "LOCAL_RANK": "2"}, "2"),
        ({"WORLD_SIZE": "2", "LOCAL_RANK": "1", "CUDA_VISIBLE_DEVICES": "3,5"}, "5"),
        ({"WORLD_SIZE": "2", "LOCAL_RANK": "1", "CUDA_VISIBLE_DEVICES": "3"}, ""),
        ({"WORLD_SIZE": "2", "LOCAL_RANK": "0", "CUDA_VISIBLE_DEVICES": ""}, ""),
    ],
)
def test_each_has_a_card_of_its_own(given, seen):
    take_card(given)
    assert given.get("CUDA_VISIBLE_DEVICES") == seen


def test_one_process_meets_nobody(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined(torch.device("cpu")) as ranks:
        assert ranks is ALONE


def test_sums_and_words_reach_everybody_in_order():
    def work(ranks):
        mine = torch.ones(2) if ranks.leads else None
        with torch.inference_mode():
            told = ranks.tell(mine)
            said = ranks.gather([ranks.rank])
        tensor = torch.full((3,), 10.0**ranks.rank)
        ranks.sum(tensor)
        told += 1  # as a state that is gone on from
        return told.tolist(), said, tensor.tolist()

    assert together(3, work) == [([2.0, 2.0], [[0], [1], [2]], [111.0] * 3)] * 3


def test_more_processes_than_cards_are_refused():
    found = together(2, lambda ranks: ranks.world, devices=("meta", "cpu"))
    assert all("1 found no card" in str(error) for error in found)
