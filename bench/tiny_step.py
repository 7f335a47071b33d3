"""Step time and saved bytes of the tiny SDXL: attached adapters against plain autograd, in one run.

`COMFYUI_PATH=... python bench/tiny_step.py [--side 32] [--batch 2] [--rounds 9]`. Rounds alternate
between the two and medians are printed. Small tensors on a CPU: the bytes are meaningful for any
size, the times only for this one.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> None:
    """Print a line per way of training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=32, help="latent pixels a side")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with ExitStack() as stack:
        _measure(_ways(options.batch, options.side, stack), options.rounds)


def _measure(ways: dict[str, Callable[[], None]], rounds: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in ways}
    saved = {name: _saved_bytes(step) for name, step in ways.items()}  # also the warm-up
    for _ in range(rounds):
        for name, step in ways.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    baseline = statistics.median(times["plain autograd"])
    for name in ways:
        median = statistics.median(times[name])
        sys.stdout.write(
            f"{name:32} {median * 1000:8.1f} ms/step  x{median / baseline:.2f}  "
            f"{saved[name] / 2**20:8.1f} MiB saved for backward\n"
        )


def _ways(batch: int, side: int, stack: ExitStack) -> dict[str, Callable[[], None]]:
    """Name -> one forward and backward pass."""
    _import_comfyui()
    import comfy.model_management as mm
    import torch

    from pack.demo import tiny_sdxl
    from pack.nodes.host import unet as host_unet
    from pack.nodes.host.weights import ComfyWeights
    from pack.trainer.attach import Attachment, checkpoint_plan, leaf_plan
    from pack.trainer.config import LoraConfig
    from pack.trainer.network import Network
    from pack.trainer.targets import find_targets

    tiny_sdxl.register()
    with tempfile.TemporaryDirectory() as folder:
        path = tiny_sdxl.write_checkpoint(Path(folder) / "tiny.safetensors")
        models = [tiny_sdxl.load(path).model for _ in range(3)]
    with torch.inference_mode():
        mm.load_models_gpu(models)
    plain, leaves_only, recomputed = (model.model.diffusion_model for model in models)
    inputs = (
        torch.randn(batch, 4, side, side),
        torch.full((batch,), 500.0),
        torch.randn(batch, 77, 48),
        torch.randn(batch, 32 + 1536),
    )

    def attached(unet: Any, checkpointing: bool) -> Callable[[], None]:
        network, weights = Network(find_targets(unet, LoraConfig())), ComfyWeights()
        leaves = leaf_plan(unet, network, weights)
        plan = leaves + (checkpoint_plan(unet) if checkpointing else [])
        stack.enter_context(Attachment(plan))
        stack.enter_context(weights.hold(leaf.module for leaf in leaves))
        return lambda: host_unet.predict(unet, *inputs).square().mean().backward()

    return {
        "plain autograd": _plain(copy.deepcopy(plain), inputs, LoraConfig()),
        "attached": attached(leaves_only, False),
        "attached, blocks recomputed": attached(recomputed, True),
    }


def _plain(twin: Any, inputs: tuple, config: Any) -> Callable[[], None]:
    """The same LoRA by forward hooks on a copy with ordinary weights."""
    import torch

    from pack.nodes.host import unet as host_unet
    from pack.trainer.network import Network
    from pack.trainer.targets import find_targets

    for name, parameter in list(twin.named_parameters()):
        owner, _, leaf = name.rpartition(".")
        normal = torch.nn.Parameter(parameter.detach().clone(), requires_grad=False)
        setattr(twin.get_submodule(owner), leaf, normal)
    network = Network(find_targets(twin, config))
    for target in network.targets:
        adapter = network.adapters[target.key]
        target.module.register_forward_hook(lambda _, x, y, adapter=adapter: y + adapter(x[0]))
    return lambda: host_unet.predict(twin, *inputs).square().mean().backward()


def _saved_bytes(step: Callable[[], None]) -> int:
    """Bytes of distinct storages that autograd keeps between forward and backward."""
    import torch

    storages: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    return sum(storages.values())


def _import_comfyui() -> None:
    """ComfyUI's modules on the CPU, and this repository as the package `pack`."""
    comfyui = os.environ.get("COMFYUI_PATH")
    if not comfyui:
        sys.exit("Set COMFYUI_PATH to a ComfyUI.")
    sys.path = [p for p in sys.path if Path(p or ".").resolve() not in (ROOT, ROOT / "bench")]
    sys.path.insert(0, comfyui)
    pack = types.ModuleType("pack")
    pack.__path__ = [str(ROOT)]
    sys.modules["pack"] = pack
    import comfy.cli_args

    comfy.cli_args.args.cpu = True


if __name__ == "__main__":
    main()
