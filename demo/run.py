"""The main job: a graph on a real ComfyUI server, from images to LoRA and pictures.

`python -m demo.run --comfyui DIR ...`; quickstart.py starts it in the right environment.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import base as demo_base
from . import tiny_tagger
from .base_model import dataset
from .progress import Follower
from .prompt import to_prompt
from .results import Results, collect
from .server import ComfyServer, ServerError

GRAPH = Path(__file__).with_name("graph.json")
WORKPLACE = demo_base.ROOT / ".demo"
TAGGER_FILES = ("model.onnx", "selected_tags.csv")
STAND_IN = "stand_in.txt"
ALLOWED = "LORA_LOOP_ALLOW"  # the folders that the workflow may change files in (see the README)
PATIENCE = 10.0  # seconds in which the model host must answer
LONGEST = 14 * 24 * 3600.0  # a real training may take days
TRIGGER = "zorp"  # the graph's own

MEANING = """Image: one prompt and seed, without the LoRA | with it.
Previews: the LoRA while it learned, a row per step, at strengths 0, 0.4, 0.8 and 1.
"""
# Of the graph's nodes, for a checkpoint of one's own: the recipe's values instead of the demo's.
REAL_VALUES: dict[str, dict[str, Any]] = {
    "captions": {"drop_categories": ""},
    "cache": {"resolution": 1024, "min_reso": 704, "max_reso": 2048, "step": 64},
    "network": {"rank": 32, "alpha": 32.0, "conv_rank": 0},
    "optimiser": {"learning_rate": 3e-5, "schedule": "constant"},
    "loss": {"min_snr_gamma": 0.0},
    "looks": {
        "prompts": f"{TRIGGER}, outdoors, looking at viewer", "every": 250,
        "width": 1024, "height": 1024, "steps": 20, "cfg": 6.0,
    },
    "train": {"steps": 4000, "batch_size": 2},
    "taught": {"strength": 0.8},
    "wanted": {"text": f"{TRIGGER}, outdoors, looking at viewer, masterpiece"},
    "unwanted": {"text": "lowres, blurry, bad anatomy, watermark"},
    "size": {"width": 1024, "height": 1024},
    "sample_before": {"steps": 25, "cfg": 6.0},
    "sample_after": {"steps": 25, "cfg": 6.0},
    "large": {"scale_by": 1.0},
}  # fmt: skip

Prompt = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    """Run the job; 0, or 1 with the reason on the error stream."""
    options = _parse(arguments)
    allow(options.allow)
    start = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server ends with us
    try:
        results = run(options)
    except KeyboardInterrupt:
        return 130
    except (ServerError, ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if options.output:
        results = results.copied_to(options.output)
    say(f"Done in {time.monotonic() - start:.0f} s")
    if options.workflow == GRAPH:
        say(MEANING)
    for name, path in results.named():
        say(f"{name}: {path}")
    return 0


def allow(folders: Iterable[Path]) -> None:
    """Let the workflow change files in these folders, too: the server inherits the variable."""
    given = [os.environ.get(ALLOWED, ""), *map(str, folders)]
    os.environ[ALLOWED] = os.pathsep.join(filter(None, given))


def run(options: argparse.Namespace) -> Results:
    """Prepare the folders, start ComfyUI, queue the workflow, wait, collect."""
    is_small = options.checkpoint is None
    model = "drawing" if is_small else None
    base = demo_base.prepare(WORKPLACE / ("small" if is_small else "real"), model=model)
    prepare_tagger(demo_base.tagger_path(base), options.tagger, allow_stand_in=is_small)
    images = options.images or dataset.write(demo_base.dataset_path(base))
    extra = () if is_small else checkpoint_arguments(base, options.checkpoint)
    say(f"Starting ComfyUI; its log: {base / 'server.log'}")
    with ComfyServer(
        options.comfyui, base, arguments=extra, cpu=is_small or not _has_accelerator()
    ) as server:
        workflow, prompt = prompt_of(options, server.object_info(), images)
        return collect(server, prompt, _finish(server, prompt, workflow))


def prompt_of(
    options: argparse.Namespace, info: dict[str, Any], images: Path
) -> tuple[dict[str, Any] | None, Prompt]:
    """The workflow as the browser saved it, if it did, and the prompt with what was asked for.

    The values of a user's own workflow stay as they are.
    """
    graph = json.loads(options.workflow.read_text(encoding="utf-8"))
    workflow = graph if "nodes" in graph else None
    prompt = to_prompt(graph, info) if workflow else graph
    set_inputs(prompt, info, "LoraLoopLoadDataset", folder=str(images))
    if options.checkpoint:
        set_inputs(prompt, info, "CheckpointLoaderSimple", ckpt_name=options.checkpoint.name)
        for node, values in REAL_VALUES.items() if options.workflow == GRAPH else ():
            prompt[node]["inputs"].update(values)
    if options.steps is not None:
        set_inputs(prompt, info, "LoraLoopTrain", steps=options.steps)
    if options.trigger:
        set_trigger(prompt, options.trigger)
    return workflow, prompt


def set_inputs(prompt: Prompt, info: dict[str, Any], class_type: str, **values: Any) -> None:
    """Set inputs of every node of a class; a node or an input that is not there is an error."""
    nodes = [node for node in prompt.values() if node["class_type"] == class_type]
    if not nodes:
        raise ValueError(f"the workflow has no node {class_type}")
    groups = info[class_type]["input"]
    known = {name for group in ("required", "optional") for name in groups.get(group) or {}}
    unknown = sorted(values.keys() - known)
    if unknown:
        raise ValueError(f"{class_type} has no input {', '.join(unknown)}; it has {sorted(known)}")
    for node in nodes:
        node["inputs"].update(values)


def set_trigger(prompt: Prompt, trigger: str) -> None:
    """The trigger word, in the captions and wherever a text prompt names the workflow's own."""
    before = []
    for node in prompt.values():
        if node["class_type"] == "LoraLoopFilterTags":
            inputs, name = node["inputs"], "trigger"
            if isinstance(inputs.get(name), list):  # a text node's output
                inputs, name = prompt[inputs[name][0]]["inputs"], "value"
            before.append(inputs.get(name, ""))
            inputs[name] = trigger
    if not before:
        raise ValueError("the workflow has no node LoraLoopFilterTags")
    for node in prompt.values():
        for name, value in node["inputs"].items():
            if isinstance(value, str) and name in ("text", "prompts", "prompt"):
                for old in filter(None, before):
                    value = value.replace(old, trigger)
                node["inputs"][name] = value


def prepare_tagger(folder: Path, given: Path | None, *, allow_stand_in: bool) -> None:
    """The given tagger, or room for the real one to be downloaded into, or the tiny one.

    Raises ValueError when only the tiny one is left and a real training is meant: its tags mean
    nothing.
    """
    if given is None and (folder / TAGGER_FILES[0]).exists() and not (folder / STAND_IN).exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    if given is not None:
        folder.mkdir(parents=True)
        for name in TAGGER_FILES:
            _link_or_copy(given / name, folder / name)
    elif _hub_answers():
        say("The tag node will download the WD14 tagger (about 470 MB, once)")
    elif not allow_stand_in:
        raise ValueError(
            "The WD14 tagger cannot be downloaded from here. Get model.onnx and selected_tags.csv "
            f"from https://huggingface.co/SmilingWolf/{demo_base.TAGGER} and give their folder "
            "with --tagger."
        )
    else:
        tiny_tagger.write(folder)
        (folder / STAND_IN).touch()
        say("No tagger is given and none can be downloaded: tagging with a tiny stand-in")


def checkpoint_arguments(base: Path, checkpoint: Path) -> tuple[str, ...]:
    """Server arguments that let ComfyUI find the user's checkpoint where it lies."""
    config = base / "extra_model_paths.yaml"
    folder = json.dumps(str(checkpoint.parent))  # a JSON string is a YAML string
    config.write_text(f"quickstart:\n  base_path: {folder}\n  checkpoints: .\n", encoding="utf-8")
    return ("--extra-model-paths-config", str(config))


def say(text: str) -> None:
    """Tell the user, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _finish(server: ComfyServer, prompt: Prompt, workflow: dict[str, Any] | None) -> dict[str, Any]:
    titles = {key: node["_meta"]["title"] for key, node in prompt.items()}
    with Follower(server.url, server.client_id, titles, say):
        prompt_id = server.queue(prompt, workflow)
        try:
            return server.wait(prompt_id, LONGEST)
        except KeyboardInterrupt:
            say("Stopping the training")
            server.interrupt()
            with contextlib.suppress(ServerError):
                server.wait(prompt_id, 60)
            raise


def _hub_answers() -> bool:
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        return False
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        with urllib.request.urlopen(urllib.request.Request(hub, method="HEAD"), timeout=PATIENCE):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False


def _has_accelerator() -> bool:
    import torch

    devices = [torch.cuda, torch.backends.mps, getattr(torch, "xpu", None)]
    return any(device is not None and device.is_available() for device in devices)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo.run")
    parser.add_argument("--comfyui", type=Path, required=True)
    for name in ("checkpoint", "images", "tagger", "output"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--workflow", type=Path, default=GRAPH)
    parser.add_argument("--allow", type=Path, action="append", default=[])
    parser.add_argument("--trigger")
    parser.add_argument("--steps", type=int)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
