import os
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from pack.trainer.files.digests import digest
from pack.trainer.files.index import FileIndex
from pack.trainer.files.store import Entry, Store


def test_digest_tells_types_order_and_nesting_apart():
    parts = [
        ("a", 1),
        (1, "a"),
        ("a", "1"),
        ("a", 1.0),
        ("a", True),
        ("a", [1]),
        ("a1",),
        ("a", 1, None),
    ]
    assert len({digest(*part) for part in parts}) == len(parts)
    assert digest("x", (1, 2)) == digest("x", [1, 2]) == "016e6c12ab0fa29d7c77187691f335ca"
    with pytest.raises(TypeError):
        digest(object())


def test_round_trip_layout_and_no_rest(tmp_path):
    store = Store(tmp_path)
    key = digest("k")
    tensor = torch.randn(4, 3)
    path = store.save("latents", key, {"latents": tensor.t()}, {"made": "here"})
    assert (
        path == tmp_path / "latents" / key[:2] / f"{key}.safetensors" == store.path("latents", key)
    )
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]
    assert torch.equal(store.load("latents", key)["latents"], tensor.t())
    assert store.has("latents", key)


def test_what_is_not_there(tmp_path):
    store = Store(tmp_path)
    assert store.load("latents", "abcd") is None
    assert not store.has("latents", "abcd")


@pytest.mark.parametrize("damage", ["truncated", "half header", "empty", "noise"])
@pytest.mark.parametrize("ask", ["has", "load"])
def test_a_damaged_file_is_removed(tmp_path, damage, ask):
    store = Store(tmp_path)
    path = store.save("latents", "abcd", {"latents": torch.ones(64)})
    data = path.read_bytes()
    path.write_bytes(
        {"truncated": data[:-1], "half header": data[:20], "empty": b"", "noise": b"\x10" * 99}[
            damage
        ]
    )
    assert not getattr(store, ask)("latents", "abcd")
    assert not path.exists()


def test_a_failed_save_leaves_nothing(tmp_path, monkeypatch):
    store = Store(tmp_path)
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        store.save("latents", "abcd", {"latents": torch.ones(2)})
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize("ask", ["has", "load"])
def test_use_is_noted(tmp_path, ask):
    store = Store(tmp_path)
    path = store.save("latents", "abcd", {"latents": torch.ones(2)})
    os.utime(path, (1e9, 1e9))
    getattr(store, ask)("latents", "abcd")
    assert abs(path.stat().st_mtime - time.time()) < 60


OPENED = []


def _audit(event, arguments):
    if event == "open" and arguments[1] == "r" and isinstance(arguments[0], str | Path):
        OPENED.append(Path(arguments[0]).name)


sys.addaudithook(_audit)  # for the life of the process: there is no taking it out


@pytest.fixture
def opened():
    """Names of the files that are read from now on."""
    OPENED.clear()
    return OPENED


@pytest.mark.parametrize("ask", ["has", "load"])
def test_no_flipped_bit_goes_unseen(tmp_path, ask):
    store = Store(tmp_path)
    tensors = {"a": torch.tensor([1.5]), "b": torch.ones(1, 2, dtype=torch.int16)}
    path = store.save("latents", "abcd", tensors)
    whole = path.read_bytes()
    for place in range(len(whole) * 8):
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
        assert not getattr(Store(tmp_path), ask)("latents", "abcd"), place
        assert not path.exists()


def test_another_shape_of_the_same_values_is_damage(tmp_path):
    path = Store(tmp_path).save("latents", "abcd", {"a": torch.ones(1, 2), "b": torch.zeros(2, 1)})
    data = path.read_bytes()
    assert data.count(b"[1,2]") == 1
    path.write_bytes(data.replace(b"[1,2]", b"[2,1]"))
    assert Store(tmp_path).load("latents", "abcd") is None


def test_a_file_without_a_checksum_is_made_again(tmp_path):
    path = Store(tmp_path).path("latents", "abcd")
    path.parent.mkdir(parents=True)
    path.write_bytes(save({"latents": torch.ones(2)}))
    assert not Store(tmp_path).has("latents", "abcd") and not path.exists()


def test_what_the_index_knows_is_not_opened(tmp_path, opened):
    index = FileIndex(tmp_path / "entries.json")
    Store(tmp_path, index).save("latents", "abcd", {"latents": torch.ones(2)})
    index.save()
    opened.clear()
    again = FileIndex(tmp_path / "entries.json")
    assert Store(tmp_path, again).has("latents", "abcd")
    assert opened == ["entries.json"]


def test_an_unknown_file_is_verified_once(tmp_path, opened):
    path = Store(tmp_path).save("latents", "abcd", {"latents": torch.ones(2)})
    store = Store(tmp_path)
    assert store.has("latents", "abcd") and store.has("latents", "abcd")
    assert opened == [path.name]


def test_a_changed_file_is_verified_again(tmp_path):
    store = Store(tmp_path)
    path = store.save("latents", "abcd", {"latents": torch.ones(2)})
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))
    assert not store.has("latents", "abcd")


@pytest.mark.parametrize("ask", ["has", "load"])
def test_noting_the_use_keeps_the_index_right(tmp_path, ask, opened):
    index = FileIndex(tmp_path / "entries.json")
    store = Store(tmp_path, index)
    path = store.save("latents", "abcd", {"latents": torch.ones(2)})
    os.utime(path, (1e9, 1e9))
    getattr(store, ask)("latents", "abcd")
    index.save()
    opened.clear()
    assert Store(tmp_path, FileIndex(tmp_path / "entries.json")).has("latents", "abcd")
    assert opened == ["entries.json"]


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OSError, match=r"cannot be written: No space left.*Free some space") as told:
        Store(tmp_path).save("latents", "abcd", {"latents": torch.ones(2)})
    assert told.value.errno == 28


def test_entries_and_their_removal(tmp_path):
    store = Store(tmp_path)
    assert list(Store(tmp_path / "none").entries()) == []
    path = store.save("latents", "abcd", {"latents": torch.ones(2)})
    (tmp_path / "files.json").write_text("no entry")
    (found,) = store.entries()
    stat = path.stat()
    assert found == Entry("latents", str(path), stat.st_size, stat.st_mtime_ns / 1e9)
    assert store.remove("latents", path) and not path.exists() and not store.has("latents", "abcd")
    assert store.remove("latents", path)


def test_a_removed_entry_is_forgotten(tmp_path):
    index = FileIndex(tmp_path / "entries.json")
    store = Store(tmp_path, index)
    path = store.save("latents", "abcd", {"latents": torch.ones(2)})
    store.remove("latents", path)
    index.save()
    assert "abcd" not in (tmp_path / "entries.json").read_text()


def test_what_was_deleted_by_hand_is_forgotten_when_all_is_listed(tmp_path):
    index = FileIndex(tmp_path / "entries.json")
    store = Store(tmp_path, index)
    paths = [store.save("latents", key, {"latents": torch.ones(2)}) for key in ("abcd", "abef")]
    paths[0].unlink()
    assert [entry.place for entry in store.entries()] == list(map(str, paths[1:]))
    index.save()
    text = (tmp_path / "entries.json").read_text()
    assert "abcd" not in text and "abef" in text


def test_a_link_out_of_the_store_is_neither_written_to_nor_cleared(tmp_path):
    outside = tmp_path / "outside" / "ab" / "mine.txt"
    outside.parent.mkdir(parents=True)
    outside.write_text("mine")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "latents").symlink_to(tmp_path / "outside")
    store = Store(tmp_path / "cache")
    assert list(store.entries()) == []
    with pytest.raises(ValueError, match="is not written"):
        store.save("latents", "abcd", {"a": torch.ones(2)})
    assert list(outside.parent.iterdir()) == [outside]
