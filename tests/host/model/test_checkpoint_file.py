import hashlib
from types import SimpleNamespace

import pytest

from pack.nodes.host.model import checkpoint_file
from pack.trainer.lora_files.metadata import ModelFile


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_file, "cache_root", lambda: tmp_path / "cache")
    path = tmp_path / "base.safetensors"
    path.write_bytes(b"weights")
    return path


def test_the_checkpoint_is_known_by_the_arguments_of_its_loader(checkpoint, monkeypatch):
    full = hashlib.sha256(b"weights").hexdigest()
    expected = ModelFile("base.safetensors", full, hashlib.sha256(b"").hexdigest()[:8])
    for arguments in ((str(checkpoint), None, {}), (str(checkpoint), False, "embeddings")):
        patcher = SimpleNamespace(cached_patcher_init=(None, arguments, 0)[: len(arguments)])
        assert checkpoint_file.model_file(patcher) == expected


@pytest.mark.parametrize("init", [None, (None, ("/nowhere/base.safetensors", 1)), (None, ({}, 1))])
def test_a_model_without_a_file_has_no_name(checkpoint, init):
    assert checkpoint_file.model_file(SimpleNamespace(cached_patcher_init=init)) is None
    assert checkpoint_file.model_file(SimpleNamespace()) is None
