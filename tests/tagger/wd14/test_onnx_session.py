"""Which execution provider is asked for, which one ran, and what is said when they differ."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from pack.tagger import CPU, available_providers, choose_providers, fallback, open_session

CUDA, DML, COREML = (f"{name}ExecutionProvider" for name in ("CUDA", "Dml", "CoreML"))
ALL = ["TensorrtExecutionProvider", CUDA, DML, CPU]


@pytest.fixture
def stand_in(monkeypatch):
    """An onnxruntime whose sessions start on the first provider that `starts` says."""

    def install(available, starts, **more):
        opened = []

        def session(path, options, providers):
            opened.append(providers)
            running = [name for name in providers if name in starts]
            return SimpleNamespace(get_providers=lambda: running)

        module = ModuleType("onnxruntime")
        module.get_available_providers = lambda: available
        module.InferenceSession = session
        module.SessionOptions = lambda: SimpleNamespace(add_session_config_entry=lambda *_: None)
        vars(module).update(more)
        monkeypatch.setitem(sys.modules, "onnxruntime", module)
        return opened

    return install


@pytest.mark.parametrize(
    ("available", "wanted", "expected"),
    [
        (ALL, "auto", [CUDA, DML, CPU]),
        (ALL, "cuda", [CUDA, CPU]),
        (ALL, "directml", [DML, CPU]),
        (ALL, "coreml", [CPU]),
        (ALL, "cpu", [CPU]),
        ([COREML, CPU], "auto", [COREML, CPU]),
        ([COREML, CPU], "coreml", [COREML, CPU]),
        ([COREML, CPU], "cuda", [CPU]),
        (["AzureExecutionProvider", CPU], "auto", [CPU]),
    ],
)
def test_providers_are_chosen_best_first(stand_in, available, wanted, expected):
    opened = stand_in(available, available)
    providers = choose_providers(available_providers(), wanted)
    session = open_session("model.onnx", providers)
    assert providers == expected and opened == [expected]
    assert session.get_providers()[0] == expected[0]


@pytest.mark.parametrize(
    ("available", "wanted", "ran"),
    [(ALL, "auto", CUDA), ([CPU], "auto", CPU), (ALL, "directml", DML), (ALL, "cpu", CPU)],
)
def test_nothing_is_said_when_what_was_asked_for_ran(available, wanted, ran):
    assert fallback(ran, wanted, available) == ""


@pytest.mark.parametrize(
    ("available", "wanted", "starts", "words"),
    [
        ([CPU], "cuda", [CPU], [CUDA, "does not have", "onnxruntime-gpu"]),
        ([CUDA, CPU], "directml", [CUDA, CPU], [DML, "does not have", "onnxruntime-directml"]),
        ([CPU], "coreml", [CPU], [COREML, "does not have"]),
        (ALL, "cuda", [DML, CPU], [CUDA, "could not be started"]),
        (ALL, "auto", [DML, CPU], [CUDA, "could not be started"]),
        (ALL, "auto", [CPU], [CUDA, "could not be started"]),
        ([COREML, CPU], "auto", [CPU], [COREML, "could not be started"]),
    ],
)
def test_another_device_than_asked_for_is_told(stand_in, available, wanted, starts, words):
    stand_in(available, starts)
    session = open_session("model.onnx", choose_providers(available, wanted))
    text = fallback(session.get_providers()[0], wanted, available)
    assert text.startswith("instead of ") and all(word in text for word in words)


def test_an_unknown_provider_is_refused():
    with pytest.raises(ValueError, match="directml"):
        choose_providers([CPU], "tpu")


@pytest.mark.parametrize(("providers", "calls"), [([CUDA, CPU], 1), ([DML, CPU], 0), ([CPU], 0)])
def test_the_cuda_libraries_of_torch_are_found(stand_in, providers, calls):
    loaded = []
    stand_in(ALL, ALL, preload_dlls=lambda: loaded.append(1))
    open_session("model.onnx", providers)
    assert len(loaded) == calls


@pytest.mark.parametrize("content", [None, b"", b"no model at all"])
def test_a_damaged_model_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.onnx.*download it again"):
        open_session(tmp_path / "bad.onnx", [CPU])


def test_a_missing_onnxruntime_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match="pip install onnxruntime"):
        open_session("model.onnx", [CPU])
