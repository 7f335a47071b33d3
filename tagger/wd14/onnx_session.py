"""ONNX Runtime as the tagger uses it: which execution provider is asked for, and which one ran."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

Provider = Literal["auto", "cuda", "directml", "coreml", "cpu"]
PROVIDERS: tuple[Provider, ...] = get_args(Provider)

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
# In the order in which "auto" prefers them.
PROVIDER_NAMES = {
    "cuda": CUDA,
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "cpu": CPU,
}
_PACKAGES = {"cuda": "onnxruntime-gpu", "directml": "onnxruntime-directml"}
_ERRORS = (
    "Fail", "NoSuchFile", "InvalidProtobuf", "InvalidGraph", "InvalidArgument", "NotImplemented",
    "RuntimeException", "EPFail",
)  # fmt: skip


class Port(Protocol):
    """An input or output of the model as ONNX Runtime describes it; unknown sizes are text or None."""

    name: str
    shape: Sequence[int | str | None]
    type: str


class Session(Protocol):
    """What is used of `onnxruntime.InferenceSession` (`Any`: its outputs have no narrower type)."""

    def get_inputs(self) -> Sequence[Port]: ...
    def get_outputs(self) -> Sequence[Port]: ...
    def get_providers(self) -> Sequence[str]: ...
    def run(self, output_names: Any, input_feed: Any, /) -> Sequence[Any]: ...


def available_providers() -> list[str]:
    """The execution providers of the installed onnxruntime; ValueError if there is none."""
    return list(_runtime().get_available_providers())


def choose_providers(available: Sequence[str], wanted: Provider = "auto") -> list[str]:
    """Execution providers to ask for, best first, the CPU always last."""
    if wanted not in PROVIDERS:
        raise ValueError(f"provider {wanted!r} is not known; choose {', '.join(PROVIDERS)}")
    names = PROVIDER_NAMES.values() if wanted == "auto" else [PROVIDER_NAMES[wanted]]
    return [*(name for name in names if name in available and name != CPU), CPU]


def fallback(ran: str, wanted: Provider, available: Sequence[str]) -> str:
    """Why `ran` is not what was asked for, to be read after its name; empty if it is."""
    asked = choose_providers(available, wanted)[0]
    if wanted != "auto" and PROVIDER_NAMES[wanted] not in available:
        package = _PACKAGES.get(wanted)
        hint = f"; {package} has it" if package else ""
        return f"instead of {PROVIDER_NAMES[wanted]}, which the installed onnxruntime does not have{hint}"
    if ran != asked:
        return f"instead of {asked}, which could not be started; the log has onnxruntime's reason"
    return ""


def open_session(path: str | Path, providers: Sequence[str]) -> Session:
    """An ONNX Runtime session on the first provider that starts; ValueError for a damaged file."""
    runtime = _runtime()
    if CUDA in providers and hasattr(runtime, "preload_dlls"):
        runtime.preload_dlls()  # finds the CUDA libraries that came with torch
    options = runtime.SessionOptions()
    # Threads that wait for the next batch leave the processor to those that decode it.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return runtime.InferenceSession(str(path), options, providers=list(providers))
    except runtime_errors() as error:
        raise ValueError(
            f"onnxruntime cannot open the tagger {path}: {error}; if the file is damaged, delete "
            "it and download it again"
        ) from error


def runtime_errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises; each release has its own selection."""
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    return tuple(getattr(state, name) for name in _ERRORS if hasattr(state, name))


def _runtime() -> Any:
    """The onnxruntime module, loaded at first use."""
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ValueError(
            "tagging needs the package onnxruntime; install it into ComfyUI's Python with "
            "`pip install onnxruntime` (onnxruntime-gpu for CUDA, onnxruntime-directml on Windows)"
        ) from error
