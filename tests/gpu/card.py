"""The card that these tests run on. LORA_LOOP_GPU_DEVICE=cpu goes through them without one.

Then what only a card has is skipped and no memory counts, but a mistake in a test is found anywhere.
"""

import os

import pytest
import torch

from pack.nodes.host.model import memory
from pack.tests.host import scene

DEVICE = torch.device(os.environ.get("LORA_LOOP_GPU_DEVICE", "cuda"))
IS_CARD = DEVICE.type == "cuda"
needs_card = pytest.mark.skipif(not IS_CARD, reason="needs a card")


def allocated() -> int:
    """Bytes that PyTorch has given out."""
    return torch.cuda.memory_allocated() if IS_CARD else 0


def difference(first, second) -> float:
    """Relative distance of two LoRAs, all their tensors together."""
    assert list(first) == list(second)
    distance = sum(float((first[k].double() - second[k].double()).square().sum()) for k in first)
    return (distance / sum(float(second[k].double().square().sum()) for k in second)) ** 0.5


def changed(before: dict, tiny) -> list[str]:
    """What of a MODEL and the process is not as in this snapshot.

    Paging makes the parameters of small layers anew for each of ComfyUI's own samplings.
    """
    after, paged = scene.snapshot(tiny.model), memory.is_dynamic(tiny.model)
    names = [key for key in before if not (paged and key == "parameters")]
    return [key for key in names if before[key] != after[key]]
