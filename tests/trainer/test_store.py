import os
import time

import pytest
import torch

from pack.trainer.store import Store, digest


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
