"""The order of calls to CUDA, on a stand-in for torch.cuda: there is no device here."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from pack.trainer.training import cuda_recorder
from pack.trainer.training.cuda_recorder import CudaRecorder
from pack.trainer.training.gradients import Losses

DEVICE = torch.device("cuda", 0)


class Stream:
    def __init__(self, cuda, name):
        self.cuda, self.name, self.device = cuda, name, DEVICE

    def wait_stream(self, other):
        self.cuda.calls.append(f"{self.name} waits for {other.name}")


class Graph:
    def __init__(self, cuda):
        self.cuda = cuda

    def replay(self):
        self.cuda.calls.append("replay")

    def reset(self):
        self.cuda.calls.append("reset")


class Cuda:
    """What the recorder uses of torch.cuda and torch._C, noting every call."""

    def __init__(self):
        self.calls, self.pools, self.breaks = [], 0, False
        self.here, self.side = Stream(self, "here"), Stream(self, "side")
        self.stream_now = self.here
        self.underway = None
        """The pool that the allocator fills while something is recorded."""

    def Stream(self, device):
        return self.side

    def CUDAGraph(self):
        return Graph(self)

    def current_stream(self, device):
        return self.stream_now

    def set_stream(self, stream):
        self.stream_now = stream

    @contextmanager
    def device(self, device):
        yield

    @contextmanager
    def stream(self, stream):
        before, self.stream_now = self.stream_now, stream
        try:
            yield
        finally:
            self.stream_now = before

    @contextmanager
    def graph(self, graph, *, pool, stream, capture_error_mode):
        assert capture_error_mode == "thread_local" and self.underway is None
        self.stream_now, self.underway = stream, pool
        self.calls.append(f"begin in pool {pool}")
        try:
            yield
        finally:
            self.calls.append("end")
            if self.breaks:  # as PyTorch: nothing is put back
                raise RuntimeError("broken off")
            self.stream_now, self.underway = self.here, None

    def graph_pool_handle(self):
        self.pools += 1
        return self.pools

    def synchronize(self, device):
        self.calls.append("synchronize")

    def empty_cache(self):
        self.calls.append("empty cache")

    def end_allocating(self, index, pool):
        assert index == DEVICE.index
        if self.underway != pool:
            raise RuntimeError("not recording")
        self.underway = None

    def release_pool(self, index, pool):
        self.calls.append(f"release pool {pool}")


@pytest.fixture
def cuda(monkeypatch):
    stand_in = Cuda()
    inside = SimpleNamespace(
        _cuda_endAllocateToPool=stand_in.end_allocating,
        _cuda_releasePool=stand_in.release_pool,
    )
    monkeypatch.setattr(cuda_recorder, "torch", SimpleNamespace(cuda=stand_in, _C=inside))
    cuda_recorder._side_stream.cache_clear()
    yield stand_in
    cuda_recorder._side_stream.cache_clear()


def work(cuda, result=1.0):
    def run():
        cuda.calls.append(f"work on {cuda.stream_now.name}")
        return Losses(torch.tensor([result]), torch.tensor([result, result]))

    return run


def test_a_rehearsal_is_done_on_the_stream_that_records(cuda):
    found = CudaRecorder(DEVICE).rehearse(work(cuda))
    assert cuda.calls == ["side waits for here", "work on side", "here waits for side"]
    assert found.terms.tolist() == [1.0] and cuda.stream_now is cuda.here


def test_a_rehearsal_that_fails_is_waited_for(cuda):
    with pytest.raises(ZeroDivisionError):
        CudaRecorder(DEVICE).rehearse(lambda: 1 / 0)
    assert cuda.calls[-1] == "here waits for side" and cuda.stream_now is cuda.here


def test_recordings_share_a_pool_and_are_replayed_where_one_is(cuda):
    recorder = CudaRecorder(DEVICE)
    replays = [recorder.record(work(cuda, result)) for result in (1.0, 2.0)]
    assert cuda.calls == ["begin in pool 1", "work on side", "end"] * 2
    assert cuda.stream_now is cuda.here
    cuda.calls.clear()
    assert replays[0]().terms is replays[0]().terms
    assert replays[1]().terms.tolist() == [2.0] and cuda.calls == ["replay"] * 3


def test_freeing_waits_then_resets_all_and_empties_the_cache(cuda):
    recorder = CudaRecorder(DEVICE)
    recorder.free()
    assert cuda.calls == []  # nothing was recorded, nothing is to be waited for
    for _ in range(2):
        recorder.record(work(cuda))
    cuda.calls.clear()
    recorder.free()
    assert cuda.calls == ["synchronize", "reset", "reset", "empty cache"]
    recorder.record(work(cuda))
    assert "begin in pool 2" in cuda.calls


@pytest.mark.parametrize("breaks", [False, True])
def test_an_error_while_recording_leaves_everything_as_before(cuda, breaks):
    """``breaks``: CUDA itself broke the recording off, and PyTorch cleaned nothing up."""
    recorder, cuda.breaks = CudaRecorder(DEVICE), breaks
    with pytest.raises(ZeroDivisionError):
        recorder.record(lambda: 1 / 0)
    assert cuda.stream_now is cuda.here and cuda.underway is None
    assert cuda.calls.count("release pool 1") == breaks
    cuda.breaks = False
    recorder.record(work(cuda))
    recorder.free()
    assert cuda.calls.count("reset") == 1
