"""What was read once stays in memory, as far as there is room."""

import pytest
import torch

from pack.tests.trainer.tiny_cache import FINGERPRINT, make_cache, make_item
from pack.trainer.batches import ram_cache
from pack.trainer.batches.plan import BatchItem
from pack.trainer.batches.ram_cache import Resident
from pack.trainer.batches.training_data import TrainingData
from pack.trainer.cache.encoding import KIND
from pack.trainer.files.store import Store


class Counting(Store):
    """Notes which entries are read, and asked for."""

    def __init__(self, root):
        super().__init__(root)
        self.read, self.asked = [], []

    def load(self, kind, key):
        self.read.append(key)
        return super().load(kind, key)

    def has(self, kind, key):
        self.asked.append(key)
        return super().has(kind, key)


@pytest.fixture
def store(tmp_path):
    make_cache(tmp_path, *(make_item(number) for number in range(3)))
    return Counting(tmp_path)


SIZE = 4 * 8 * 8 * 4


@pytest.mark.parametrize(("room", "reads"), [(3 * SIZE, 3), (2 * SIZE, 4), (SIZE - 1, 6)])
def test_what_has_room_is_read_once_and_the_rest_every_time(store, room, reads):
    entries = Resident(store, room)
    for _ in range(2):
        for number in range(3):
            found = entries.load(KIND, f"00{number}")["latents"]
            assert torch.equal(found, store.load(KIND, f"00{number}")["latents"])
            store.read.pop()
    assert len(store.read) == reads


def test_what_is_absent_is_asked_for_again(store):
    entries = Resident(store)
    store.path(KIND, "001").unlink()
    assert entries.load(KIND, "001") is None
    store.save(KIND, "001", {"latents": torch.ones(1)})
    assert torch.equal(entries.load(KIND, "001")["latents"], torch.ones(1))
    store.path(KIND, "001").unlink()
    assert entries.load(KIND, "001") is not None


def test_the_store_hears_of_long_use(store, monkeypatch):
    entries, clock = Resident(store), []
    monkeypatch.setattr(ram_cache.time, "monotonic", lambda: clock[-1])
    for now in (0.0, 10.0, 3601.0, 3700.0, 7300.0):
        clock.append(now)
        entries.load(KIND, "000")
    assert store.read == ["000"] and store.asked == ["000"] * 2


def test_batches_read_no_entry_twice(tmp_path):
    cached = make_cache(tmp_path, *(make_item(number, flip=True) for number in range(3)))
    store = Counting(tmp_path)
    data = TrainingData(cached, FINGERPRINT, store)
    items = [BatchItem(number, 0, flipped) for number in range(3) for flipped in (False, True)]
    first, second = data.load(items), data.parts(cached)[0].load(items)
    assert len(store.read) == len(set(store.read)) == 3 * 2 + 3
    assert torch.equal(first.latents, second.latents) and torch.equal(first.y, second.y)
