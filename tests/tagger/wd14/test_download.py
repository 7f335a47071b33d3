import importlib
import sys
import threading
import time

import pytest

from pack.tagger import find_local, local_names
from pack.tagger.wd14.download import Hub, download

NAME = "wd-vit-tagger-v3"
CONTENT = {"selected_tags.csv": b"t" * 10, "model.onnx": b"m" * 90}


class Shelf:
    """A source in memory; `breaks` makes the model's transfer stop halfway."""

    def __init__(self, breaks=False, waits=None):
        self.breaks, self.waits, self.fetched = breaks, waits, []

    def size(self, repository, file):
        assert repository == f"SmilingWolf/{NAME}"
        return len(CONTENT[file])

    def fetch(self, repository, file, folder):
        self.fetched.append(file)
        if file == "model.onnx" and (self.breaks or self.waits):
            (folder / "model.incomplete").write_bytes(CONTENT[file][:45])
            if self.breaks:
                raise ConnectionError("the line went dead")
            assert self.waits.wait(5)
        (folder / file).write_bytes(CONTENT[file])


def test_arrives_whole_and_only_once(tmp_path):
    shelf = Shelf()
    files = download(NAME, tmp_path / "new", source=shelf)
    assert files.model.read_bytes() == CONTENT["model.onnx"]
    assert files == find_local(tmp_path / "new", NAME)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [NAME]
    assert download(NAME, tmp_path / "new", source=shelf) == files
    assert shelf.fetched == ["selected_tags.csv", "model.onnx"]


def test_half_a_download_is_no_model_and_is_gone_on_with(tmp_path):
    with pytest.raises(ValueError, match="the line went dead") as caught:
        download(NAME, tmp_path, source=Shelf(breaks=True))
    assert f"https://huggingface.co/SmilingWolf/{NAME}" in str(caught.value)
    assert str(tmp_path / NAME) in str(caught.value)
    assert find_local(tmp_path, NAME) is None and local_names(tmp_path) == ()
    assert (tmp_path / f".{NAME}.download" / "model.incomplete").exists()
    assert download(NAME, tmp_path, source=Shelf()).model.exists()


def test_a_source_that_brings_nothing_is_noticed(tmp_path):
    shelf = Shelf()
    shelf.fetch = lambda repository, file, folder: None
    with pytest.raises(ValueError, match=r"brought no selected_tags\.csv"):
        download(NAME, tmp_path, source=shelf)


def test_progress_is_reported_and_may_give_up(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["pack.tagger.wd14.download"], "POLL_SECONDS", 0.01)
    go, heard = threading.Event(), []

    def halfway(done, total):
        heard.append((done, total))
        if done == 55:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(NAME, tmp_path, halfway, Shelf(waits=go))
    assert heard[-1] == (55, 100) and find_local(tmp_path, NAME) is None
    go.set()
    while any(thread.name == "tagger-download" for thread in threading.enumerate()):
        time.sleep(0.01)
    heard.clear()
    download(NAME, tmp_path, lambda done, total: heard.append((done, total)), Shelf())
    assert heard[-1] == (100, 100)


def test_an_unknown_name_is_not_looked_for(tmp_path):
    shelf = Shelf()
    with pytest.raises(ValueError, match="wd-swinv2-tagger-v3") as caught:
        download("my-tagger", tmp_path, source=shelf)
    assert str(tmp_path / "my-tagger") in str(caught.value) and not shelf.fetched


def test_offline_mode_is_respected(tmp_path, monkeypatch):
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"(?i)offline"):
        download(NAME, tmp_path, source=Hub())
    assert find_local(tmp_path, NAME) is None
