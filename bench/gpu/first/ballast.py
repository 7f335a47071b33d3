"""Another process that takes the memory of the card away, so that what is left is a small card's.

What pages weights by itself allocates past PyTorch, so a limit on PyTorch would not be one on it.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

GIB = 1 << 30
SCRIPT = """
import sys, torch
keep = torch.empty(1, device="cuda")
free = torch.cuda.mem_get_info()[0]
taken = torch.empty(max(free - int(sys.argv[1]), 1), dtype=torch.uint8, device="cuda")
print("taken", flush=True)
sys.stdin.read()
"""


@contextmanager
def small_card(gib: float) -> Iterator[None]:
    """This process and ComfyUI have so many GiB beside CUDA's own context."""
    import comfy.model_management as mm

    torch.empty(1, device="cuda")  # the context lies there before the rest is counted
    gc.collect()
    torch.cuda.empty_cache()
    limit = int(gib * GIB)
    command = [sys.executable, "-c", SCRIPT, str(limit)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    total = mm.get_total_memory
    try:
        assert other.stdout is not None
        if other.stdout.readline().strip() != "taken":
            raise RuntimeError("the memory of the card could not be taken, see log.txt")
        mm.get_total_memory = lambda dev=None, torch_total_too=False: (
            total(dev, torch_total_too)
            if mm.is_device_cpu(dev or mm.get_torch_device())
            else ((limit, limit) if torch_total_too else limit)
        )
        yield
    finally:
        mm.get_total_memory = total
        other.kill()
        other.wait()
