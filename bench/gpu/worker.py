"""One way of training, measured in a process of its own: started by `python bench/gpu` with a JSON.

Every finished batch size is a line on standard output that begins with ROW.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

FAILURES = (ArithmeticError, RuntimeError, ValueError)
"""What a way may fail with, running out of memory included; others end the process."""
WARM, TIMED = {1: 8, 2: 5, 4: 4, 8: 3}, {1: 25, 2: 15, 4: 10, 8: 6}
"""Steps by batch size."""


def main() -> None:
    """Measure what the first argument says."""
    task = json.loads(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        _prepare(task, Path(folder))
        if task["peer"] == "check":
            from .first.checking import run_check

            run_check(task, Path(folder), _say)
        elif task["peer"] == "facts":
            _say(_facts(task))
        else:
            _measure(task, Path(folder))


def _prepare(task: dict[str, Any], folder: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from finding import find_pack, import_comfyui

    os.environ["COMFYUI_PATH"] = task["comfyui"]
    if task["site"]:
        sys.path.append(task["site"])
    find_pack()
    from . import bare_host

    bare_host.stand_in()
    import_comfyui(folder, task["device"])
    if task["dynamic_vram"] and not bare_host.enable_dynamic_vram():
        raise SystemExit("This ComfyUI or this machine has no dynamic VRAM.")


def _scene(task: dict[str, Any]) -> Any:
    import torch

    from ..data.scene import Scene

    small, device = task["small"], torch.device(task["device"])
    if device.type == "cuda":
        device = torch.device("cuda", 0)
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    return Scene(small, device, dtype, rank=8 if small else 32, alpha=4.0 if small else 16.0)


def _facts(task: dict[str, Any]) -> dict[str, Any]:
    from .meter import card_facts
    from .parity import parity

    scene = _scene(task)
    facts = card_facts(scene.device)
    try:
        return facts | {"parity": parity(scene)}
    except FAILURES:
        return facts | {"parity": [], "error": traceback.format_exc()}


def _measure(task: dict[str, Any], folder: Path) -> None:
    from .meter import Meter

    scene = _scene(task)
    way = _way(task, scene, folder)
    if task["cap"] and scene.device.type == "cuda":
        from .small_card import pretend

        pretend(task["cap"])
    for batch in task["batches"]:
        warm, timed = (1, 2) if task["small"] else (WARM[batch], TIMED[batch])
        meter = Meter(scene.device, warm, timed)
        try:
            way.run(batch, meter.steps, meter)
            loss = getattr(way, "last_loss", None)
            _say(meter.row(batch) | ({} if loss is None else {"last_loss": loss}))
        except FAILURES as error:  # a row of its own: the other batch sizes are still measured
            traceback.print_exc()
            _say({"batch": batch, "error": f"{type(error).__name__}: {str(error)[:200]}"})


def _way(task: dict[str, Any], scene: Any, folder: Path) -> Any:
    peer, settings = task["peer"], task["settings"]
    if peer == "ours":
        from ..peers.ours import Ours

        return Ours(scene, folder / "ours", **settings)
    if peer == "naive":
        from ..peers.naive import NaiveWay

        return NaiveWay(scene, **settings)
    if peer == "native":
        from ..peers.native import Native

        return Native(scene, **settings)
    if peer == "kohya":
        from ..peers.kohya import Kohya

        return Kohya(scene, Path(task["kohya"]), **settings)
    from ..peers.diffusers import Diffusers

    return Diffusers(scene, **settings)


def _say(row: dict[str, Any]) -> None:
    from .process import MARK

    sys.stdout.write(MARK + json.dumps(row) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
