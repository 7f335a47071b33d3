"""CUDA graphs: the launches of a piece of work recorded once, then sent again all together."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import torch

from .gradients import Losses


class CudaRecorder:
    """The Recorder of a CUDA device (see trainer/training/cuda_graphs.py). All recordings share one pool of memory.

    The pool grows to what the largest recording needs, not to their sum: they run one at a time.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = None
        self._graphs: list[torch.cuda.CUDAGraph] = []

    def rehearse(self, work: Callable[[], Losses]) -> Losses:
        # On the stream that will record: the libraries make a workspace for each stream and thread
        # that they meet, and what they made while recording would lie in the pool.
        here, side = torch.cuda.current_stream(self._device), _side_stream(self._device)
        side.wait_stream(here)
        try:
            with torch.cuda.stream(side):
                found = work()
        finally:
            here.wait_stream(side)
        return Losses(*(tensor.clone() for tensor in found))  # of the stream that will read them

    def record(self, work: Callable[[], Losses]) -> Callable[[], Losses]:
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph, side = torch.cuda.CUDAGraph(), _side_stream(self._device)
        here = torch.cuda.current_stream(self._device)
        # Only this thread is watched for forbidden calls: ComfyUI's server may ask the device
        # something meanwhile. Autograd's own thread is recorded all the same, by its stream.
        recording = torch.cuda.graph(
            graph, pool=self._pool, stream=side, capture_error_mode="thread_local"
        )
        try:
            with torch.cuda.device(self._device):
                recording.__enter__()
                try:
                    found = work()
                except BaseException:
                    with suppress(RuntimeError):  # it cannot be ended where CUDA has broken it off
                        recording.__exit__(None, None, None)
                    raise
                recording.__exit__(None, None, None)
        except BaseException:
            self._abandon(self._pool, side.device.index)
            raise
        finally:
            torch.cuda.set_stream(here)  # PyTorch stays on the other when ending fails
        self._graphs.append(graph)

        def replay() -> Losses:
            graph.replay()
            return found

        return replay

    def free(self) -> None:
        if self._pool is None:
            return
        torch.cuda.synchronize(self._device)
        for graph in self._graphs:
            graph.reset()
        self._graphs.clear()
        self._pool = None
        torch.cuda.empty_cache()

    @staticmethod
    def _abandon(pool: Any, index: int) -> None:
        """Tell the allocator that nothing is recorded any more.

        PyTorch forgets to when CUDA itself breaks a recording off, and would then never again
        release memory to make room. Where PyTorch has told it already this is refused.
        """
        names = ("_cuda_endAllocateToPool", "_cuda_endAllocateCurrentStreamToPool")
        end = next(getattr(torch._C, name) for name in names if hasattr(torch._C, name))
        with suppress(RuntimeError):
            end(index, pool)
            torch._C._cuda_releasePool(index, pool)


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for the life of the process: the libraries never give back what they keep for a stream."""
    return torch.cuda.Stream(device)
