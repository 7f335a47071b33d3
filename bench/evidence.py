"""What each measurement of the template *find_the_best* costs, in seconds and as a share of its trainings.

`COMFYUI_PATH=... python bench/evidence.py [--steps 120]`. A ComfyUI server of its own runs the template on the
demo's model and images, with the rate finder unmuted, and sizes that these take. A node's time is what passes
between its start and that of the next one, as the server tells them. The tagger is the demo's stand-in.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

RATES = 5e-4, 1.5e-3
LONGEST = 3600.0
MEASURING = (
    "FindLearningRate", "SweepReport", "ScorePreviews", "DatasetReport", "CompareLoras", "ResizeLora", "ScoreLora",
)  # fmt: skip


def main() -> None:
    """Print a table, a row for each node that measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=120)
    options = parser.parse_args()
    from finding import find_pack

    find_pack()
    with tempfile.TemporaryDirectory() as folder:
        seconds = run(Path(folder), options.steps)
    training = seconds["LoraLoopTrain"]
    rows = [
        ("node", "seconds", "share of the trainings"),
        ("---", "---", "---"),
        (f"Train, {len(RATES)} runs", f"{training:.1f}", "100 %"),
    ]
    for name in MEASURING:
        spent = seconds[f"LoraLoop{name}"]
        rows.append((name, f"{spent:.1f}", f"{100 * spent / training:.1f} %"))
    sys.stdout.write("".join(f"| {' | '.join(row)} |\n" for row in rows))


def run(folder: Path, steps: int) -> dict[str, float]:
    """Seconds by class of node."""
    from ..demo import base as demo_base
    from ..demo import tiny_tagger
    from ..demo.base_model import dataset
    from ..demo.progress import Follower
    from ..demo.prompt import to_prompt
    from ..demo.server import ComfyServer

    base = demo_base.prepare(folder, model="drawing")
    tiny_tagger.write(demo_base.tagger_path(base))
    dataset.write(demo_base.dataset_path(base))
    path = demo_base.ROOT / "example_workflows" / "lora_loop_find_the_best.json"
    workflow = json.loads(path.read_text("utf-8"))
    for node in workflow["nodes"]:
        node["mode"] = 0
    starts: list[tuple[float, str]] = []

    def say(line: str) -> None:
        if line.startswith("- "):
            starts.append((time.monotonic(), line[2:]))

    with ComfyServer(os.environ["COMFYUI_PATH"], base) as server:
        prompt = to_prompt(workflow, server.object_info())
        _resize(prompt, steps)
        classes = {key: node["class_type"] for key, node in prompt.items()}
        with Follower(server.url, server.client_id, classes, say):
            server.wait(server.queue(prompt), LONGEST)
            starts.append((time.monotonic(), ""))
    spent: dict[str, float] = defaultdict(float)
    for (began, name), (ended, _) in pairwise(starts):
        spent[name] += ended - began
    return spent


def _resize(prompt: dict[str, Any], steps: int) -> None:
    """What the demo's model and its images of 128 px take (demo/graph.json)."""
    sizes: dict[str, dict[str, Any]] = {
        "LoraLoopSweep": {
            "learning_rates": ", ".join(map(str, RATES)), "seeds": "0", "steps": steps, "batch_size": 4,
        },
        "LoraLoopCacheLatents": {"resolution": 128, "min_reso": 64, "max_reso": 256, "step": 32},
        "LoraLoopValidationSettings": {"every": steps // 6},
        "LoraLoopCheckpointSettings": {"every_steps": steps // 3},
        "LoraLoopPreviewSettings": {"every": steps // 3, "width": 128, "height": 128, "steps": 12, "cfg": 3.0},
        "LoraLoopFindLearningRate": {"highest": 0.03},
        "LoraLoopFilterTags": {"drop_categories": "general"},
        "EmptyLatentImage": {"width": 128, "height": 128},
    }  # fmt: skip
    for node in prompt.values():
        node["inputs"].update(sizes.get(node["class_type"], {}))
        for name, value in node["inputs"].items():
            if isinstance(value, str):
                node["inputs"][name] = value.replace("my_trigger_word", "zorp")


if __name__ == "__main__":
    main()
