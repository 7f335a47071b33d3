"""One tagger session at a time: memory asked for first, the fallback told, given back before training."""

import logging
from types import SimpleNamespace

import pytest

from pack.demo import tiny_tagger
from pack.nodes.host.dataset import tagger_session
from pack.nodes.host.dataset.tagger_session import Registry
from pack.tagger import CPU, open_session
from pack.tagger.wd14.models import model_at

CUDA, COREML = "CUDAExecutionProvider", "CoreMLExecutionProvider"


@pytest.fixture
def files(tmp_path):
    return model_at(tiny_tagger.write(tmp_path / "tagger"))


@pytest.fixture
def events(monkeypatch):
    """What happens in which order; sessions run on the CPU whatever was asked for."""
    found = []
    monkeypatch.setattr(
        tagger_session.mm, "free_memory", lambda size, device: found.append(("free", size))
    )

    def opened(path, providers):
        found.append(("open", *providers))
        session = open_session(path, [CPU])
        running = [name for name in providers if name != "CUDAExecutionProvider"]
        return SimpleNamespace(
            get_inputs=session.get_inputs,
            get_outputs=session.get_outputs,
            get_providers=lambda: running,
        )

    monkeypatch.setattr(tagger_session, "open_session", opened)
    return found


def test_a_session_is_opened_once_per_model_and_provider(files, events):
    held = Registry()
    first = held.tagger(files, "a", "cpu", 8)
    assert held.tagger(files, "a", "cpu", 8) is first
    assert held.tagger(files, "another file under the same name", "cpu", 8) is not first
    assert held.tagger(files, "a", "auto", 8) is not first
    held.release()
    held.tagger(files, "a", "auto", 8)
    assert [kind for kind, *_ in events] == ["open"] * 4
    assert first.where == f"on {CPU}"


@pytest.mark.parametrize("provider", ["cuda", "auto"])
def test_memory_is_asked_for_before_a_gpu_session_and_the_fallback_is_told(
    files, events, monkeypatch, caplog, provider
):
    monkeypatch.setattr(tagger_session, "available_providers", lambda: [CUDA, CPU])
    with caplog.at_level(logging.WARNING):
        where = Registry().tagger(files, "a", provider, 8).where
    (freed, opened) = events
    assert freed == ("free", 2 * files.model.stat().st_size + 8 * tagger_session.PICTURE_BYTES)
    assert opened == ("open", CUDA, CPU)
    assert where.startswith(f"on {CPU} instead of {CUDA}, which could not be started")
    assert where in caplog.text


def test_a_provider_that_starts_is_named_without_a_warning(files, events, monkeypatch, caplog):
    monkeypatch.setattr(tagger_session, "available_providers", lambda: [COREML, CPU])
    with caplog.at_level(logging.WARNING):
        assert Registry().tagger(files, "a", "auto", 8).where == f"on {COREML}"
    assert caplog.text == ""


def test_a_session_that_is_open_asks_for_its_batch_only(files, events, monkeypatch):
    monkeypatch.setattr(tagger_session, "available_providers", lambda: [COREML, CPU])
    held = Registry()
    held.tagger(files, "a", "auto", 8)
    held.tagger(files, "a", "auto", 32)
    assert events[2:] == [("free", 32 * tagger_session.PICTURE_BYTES)]


def test_on_the_cpu_no_memory_is_asked_for(files, events, caplog):
    where = Registry().tagger(files, "a", "directml", 8).where
    assert events == [("open", CPU)]
    assert "instead of DmlExecutionProvider, which the installed onnxruntime does not have" in where
