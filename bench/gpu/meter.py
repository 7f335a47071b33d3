"""A watch for the GPU: times by events, memory, kernels of one more step."""

from __future__ import annotations

import statistics
import subprocess
import time
from typing import Any

import torch

MIB = 1 << 20
LAUNCHES = ("LaunchKernel", "GraphLaunch")


class Meter:
    """Lets ``warm`` steps pass, times ``timed`` and profiles one more; ``steps`` is how many to run."""

    def __init__(self, device: torch.device, warm: int, timed: int) -> None:
        self._cuda = device.type == "cuda"
        self._warm, self._timed = warm, timed
        self._done = 0
        self._begin = time.perf_counter()
        self._first = 0.0
        self._marks: list[Any] = []
        self._profiler: Any = None
        self._row: dict[str, Any] = {}
        if self._cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    @property
    def steps(self) -> int:
        return self._warm + self._timed + 1

    def step(self) -> None:
        """A step is done."""
        self._done += 1
        if self._done == 1:
            self._wait()
            self._first = time.perf_counter() - self._begin
        if self._done == self._warm:
            self._warmed()
        elif self._warm < self._done <= self._warm + self._timed:
            self._mark()
        if self._done == self._warm + self._timed:
            self._measured()
        elif self._done > self._warm + self._timed and self._profiler is not None:
            self._profiled()

    def row(self, batch: int) -> dict[str, Any]:
        """What was found; raises ValueError where fewer steps were done."""
        if self._done < self.steps:
            raise ValueError(f"{self._done} steps were done of {self.steps}.")
        return {"batch": batch, "first_step_s": self._first} | self._row

    def _warmed(self) -> None:
        self._wait()
        if self._cuda:
            self._row["peak_with_warming_mib"] = torch.cuda.max_memory_allocated() / MIB
            torch.cuda.reset_peak_memory_stats()
        self._start = time.perf_counter()
        self._mark()

    def _mark(self) -> None:
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._marks.append(event)
        else:
            self._marks.append(time.perf_counter())

    def _measured(self) -> None:
        self._wait()
        host = (time.perf_counter() - self._start) * 1000 / self._timed
        pairs = zip(self._marks, self._marks[1:], strict=False)
        times = [a.elapsed_time(b) if self._cuda else (b - a) * 1000 for a, b in pairs]
        self._row |= {"ms": statistics.median(times), "host_ms": host, **_spread(times)}
        if self._cuda:
            free, total = torch.cuda.mem_get_info()
            self._row |= {
                "allocated_mib": torch.cuda.max_memory_allocated() / MIB,
                "reserved_mib": torch.cuda.max_memory_reserved() / MIB,
                "used_mib": (total - free) / MIB,
                "sm_clock": sm_clock(),
            }
            kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
            self._profiler = torch.profiler.profile(activities=kinds)
            self._profiler.__enter__()

    def _profiled(self) -> None:
        self._wait()
        profiler, self._profiler = self._profiler, None
        profiler.__exit__(None, None, None)
        events = profiler.events()
        from torch.autograd import DeviceType  # pyright: ignore[reportPrivateImportUsage]  (its only name)

        on_card = [e for e in events if e.device_type == DeviceType.CUDA]
        copies = [e for e in on_card if e.name.startswith(("Memcpy", "Memset"))]
        inward = [e for e in copies if "HtoD" in e.name]
        self._row |= {
            "kernels": len(on_card) - len(copies),
            "launches": sum(any(part in e.name for part in LAUNCHES) for e in events),
            "copy_in_ms": sum(e.device_time_total for e in inward) / 1000,
        }

    def _wait(self) -> None:
        if self._cuda:
            torch.cuda.synchronize()


def _spread(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    last = len(ordered) - 1
    return {"p10": ordered[round(0.1 * last)], "p90": ordered[round(0.9 * last)]}


def sm_clock() -> str:
    """The clock of the multiprocessors as the driver says it; only read."""
    query = ["nvidia-smi", "--query-gpu=clocks.sm", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, timeout=10).stdout.strip()
    except OSError:
        return ""


def card_facts(device: torch.device) -> dict[str, Any]:
    """Name, the rate of a bfloat16 product of 8192 x 8192 matrices, and of a copy from pinned memory."""
    if device.type != "cuda":
        return {"device": "CPU", "torch": torch.__version__}
    a, b = (torch.randn(8192, 8192, device=device, dtype=torch.bfloat16) for _ in range(2))
    pinned = torch.empty(1 << 30, dtype=torch.uint8, pin_memory=True)
    there = torch.empty_like(pinned, device=device)
    product = _median_ms(lambda: torch.mm(a, b), 30)
    copy = _median_ms(lambda: there.copy_(pinned, non_blocking=True), 10)
    return {
        "device": torch.cuda.get_device_name(device),
        "torch": torch.__version__,
        "peak_tflops": 2 * 8192**3 / product / 1e9,
        "copy_gb_per_s": pinned.numel() / copy / 1e6,
        "sm_clock": sm_clock(),
    }


def _median_ms(work: Any, repeats: int) -> float:
    times = []
    for number in range(repeats + 5):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        if number >= 5:
            times.append(begin.elapsed_time(end))
    return statistics.median(times)
