"""Several processes that train together, forked from this one, as torchrun would start them."""

import os
import pickle
import signal
import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import torch

from pack.trainer.device.ranks import RankLost, joined

PATIENCE = 240
"""Seconds until a process that does not end is killed; the test fails then."""


def together(world, work, devices=None):
    """What ``work(ranks)`` gives in each process, by rank: a value, the error, or None where it was killed.

    devices: where each trains, by the kind's name; None: all on the CPU.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / str(rank) for rank in range(world)]
        places = zip(devices or ["cpu"] * world, files, strict=True)
        processes = [_fork(rank, world, port, work, *place) for rank, place in enumerate(places)]
        try:
            _wait(processes)
        finally:
            for process in processes:
                with suppress(ProcessLookupError, ChildProcessError):
                    os.kill(process, signal.SIGKILL)
                    os.waitpid(process, 0)
        return [pickle.loads(f.read_bytes()) if f.exists() else None for f in files]


def _fork(rank, world, port, work, device, file):
    process = os.fork()
    if process:
        return process
    try:
        os.environ.update(
            MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE=str(world), RANK=str(rank)
        )
        try:
            with joined(torch.device(device)) as ranks:
                found = work(ranks)
        except (ValueError, RuntimeError, RankLost) as error:
            found = error
        file.with_suffix(".part").write_bytes(pickle.dumps(found))
        file.with_suffix(".part").rename(file)
    finally:
        os._exit(0)


def _wait(processes):
    end, alive = time.monotonic() + PATIENCE, list(processes)
    while alive:
        alive = [process for process in alive if not os.waitpid(process, os.WNOHANG)[0]]
        assert time.monotonic() < end, "a process does not end"
        time.sleep(0.02)
