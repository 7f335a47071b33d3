"""A dataset of red pictures with the demo's tagger, and a run whose previews are known."""

import dataclasses

import pytest

from pack.demo import tiny_tagger
from pack.nodes.host import folders
from pack.nodes.host.dataset.tagger_session import REGISTRY
from pack.tests.host import scene, scored_run
from pack.trainer.dataset.scan import scan_folder


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """Red pictures with the trigger "thing", and the demo's tagger."""
    monkeypatch.setattr(folders, "tagger_folders", lambda: [tmp_path / "taggers"])
    tiny_tagger.write(tmp_path / "taggers" / scored_run.MODEL, every=8)
    found = scan_folder(scene.write_pictures(tmp_path / "set", count=3))
    yield dataclasses.replace(found, trigger="thing")
    REGISTRY.release()


@pytest.fixture
def run():
    """See `scored_run.write_run`."""
    return scored_run.write_run()
