"""LoRA Loop from a clean clone: `python quickstart.py`, `... train`, `... test`, `... golden DIR`.

Only bootstraps, on the standard library: finds or makes an environment and a ComfyUI, then hands
over to demo/run.py (the main job), tests/tiers.py or headless.py.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import bootstrap
from bootstrap import ROOT, say

# What the main job imports, beside ComfyUI itself.
MODULES = (
    "torch",
    "onnxruntime",
    "cv2",
    "PIL",
    "numpy",
    "huggingface_hub",
    "safetensors",
    "regex",
    "filelock",
    "aiohttp",
)
DEMO_MODULES = ("onnx",)

USAGE = """\
python quickstart.py                  teach a small SDXL a new figure, in a real ComfyUI server
python quickstart.py --checkpoint model.safetensors --images folder --trigger word
python quickstart.py train --config config.toml [--output folder]    a config of kohya's trainer
.venv/bin/torchrun --nproc-per-node N quickstart.py train --config ...    the same on N cards
python quickstart.py test [pytest arguments]
python quickstart.py golden DIR [--part train,losses,...]
"""


def main(arguments: list[str]) -> int:
    """Run the command; its exit code."""
    if arguments[:1] == ["test"]:
        return test(arguments[1:])
    if arguments[:1] == ["train"]:
        return train(arguments[1:])
    if arguments[:1] == ["golden"]:
        return golden(arguments[1:])
    return main_job(arguments)


def main_job(arguments: list[str]) -> int:
    """Dataset → tags → LoRA → image, on a ComfyUI server."""
    parser = argparse.ArgumentParser(
        usage=USAGE, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--checkpoint", type=_file, help="an SDXL checkpoint; default: a small one")
    parser.add_argument("--images", type=_folder, help="a folder of images; default: demo images")
    parser.add_argument("--trigger", help="the trigger word put first in every caption")
    parser.add_argument(
        "--tagger", type=_folder, help="a folder with model.onnx and selected_tags.csv"
    )
    parser.add_argument("--steps", type=int, help="training steps")
    parser.add_argument("--output", type=_path, help="folder to put the three results in")
    parser.add_argument("--comfyui", help="the ComfyUI to use; default: the first one found")
    parser.add_argument(
        "--workflow",
        type=_file,
        help="a workflow of yours with the nodes of lora_loop_train_and_preview",
    )
    parser.add_argument(
        "--allow", type=_folder, action="append", default=[],
        help="a folder in which the workflow may edit captions and rename files; may be repeated",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    comfyui = bootstrap.find_comfyui(options.comfyui)
    needs_demo = not (options.checkpoint and options.images and options.tagger)
    python = _python_for(
        comfyui, DEMO_MODULES if needs_demo else (), bootstrap.DEMO if needs_demo else ()
    )
    command = [str(python), "-m", "demo.run", "--comfyui", str(comfyui)]
    for name in ("checkpoint", "images", "trigger", "tagger", "steps", "output", "workflow"):
        value = getattr(options, name)
        if value is not None:
            command += [f"--{name}", str(value)]
    for folder in options.allow:
        command += ["--allow", str(folder)]
    return _call(command)


def train(arguments: list[str]) -> int:
    """Train a config.toml; paths begin in the current folder, as with kohya's scripts.

    torchrun starts several of these at once: each goes on in torchrun's own Python, and makes nothing.
    """
    is_rank = int(os.environ.get("WORLD_SIZE", "1")) > 1
    comfyui = bootstrap.find_comfyui(fetch=not is_rank)
    python = Path(sys.executable)
    if not is_rank:
        python = _python_for(comfyui, (), bootstrap.extra_packages("optimisers"))
    elif missing := [name for name in MODULES if importlib.util.find_spec(name) is None]:
        raise bootstrap.BootstrapError(
            f"torchrun's Python, {python}, is missing {', '.join(missing)}. Run `python quickstart.py "
            "train --help` once and use the torchrun beside the Python that it names, or .venv/bin/torchrun."
        )
    command = [str(python), str(ROOT / "headless.py"), "train", *arguments]
    run = _become if is_rank and os.name == "posix" else _call
    return run([*command, "--directory", str(Path.cwd())], COMFYUI_PATH=str(comfyui))


def golden(arguments: list[str]) -> int:
    """Replay recorded numbers: exit code 0 passed, 1 failed, 2 something not supported yet."""
    parser = argparse.ArgumentParser(usage=USAGE)
    parser.add_argument("directory", type=_folder)
    parser.add_argument("--part", help="comma-separated parts; default: all")
    options = parser.parse_args(arguments)
    comfyui = bootstrap.find_comfyui()
    python = bootstrap.ensure_environment(
        comfyui, [*bootstrap.extra_packages("kohya"), *bootstrap.extra_packages("optimisers")]
    )
    command = [str(python), str(ROOT / "headless.py"), "golden", str(options.directory)]
    if options.part:
        command += ["--part", options.part]
    return _call(command, COMFYUI_PATH=str(comfyui))


def test(arguments: list[str]) -> int:
    """All tiers that this machine allows; further arguments go to pytest."""
    main_host = bootstrap.find_comfyui()
    old_host = bootstrap.find_old_comfyui()
    python = bootstrap.ensure_environment(main_host, bootstrap.extra_packages("test"))
    command = [str(python), str(ROOT / "tests" / "tiers.py"), *arguments]
    return _call(
        command,
        COMFYUI_PATH=str(main_host),
        COMFYUI_OLD_PATH=str(old_host),
        COMFYUI_FRONTEND_PATH=str(bootstrap.fetch_frontend()),
    )


def _python_for(comfyui: Path, modules: Sequence[str], packages: Sequence[str]) -> Path:
    """ComfyUI's own Python when it has what we import and `modules`, else `.venv` with `packages`."""
    own = bootstrap.own_python(comfyui)
    if own is not None:
        missing = bootstrap.missing_modules(own, (*MODULES, *modules))
        if not missing:
            say(f"Python of that ComfyUI: {own}")
            return own
        say(f"{own} is missing {', '.join(missing)}; using .venv instead")
    return bootstrap.ensure_environment(comfyui, packages)


def _become(command: list[str], **environment: str) -> NoReturn:
    """Go on as the command, so that it is the process that torchrun watches and ends."""
    os.chdir(ROOT)
    os.execve(command[0], command, _variables(environment))


def _variables(more: dict[str, str]) -> dict[str, str]:
    return {**os.environ, **more, "PYTHONDONTWRITEBYTECODE": "1"}


def _call(command: list[str], **environment: str) -> int:
    """Run in the repository with our standard streams; its exit code."""
    process = subprocess.Popen(command, cwd=ROOT, env=_variables(environment))
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # it hears Ctrl-C as well, and ends in order
            continue


def _path(text: str) -> Path:
    return Path(text).expanduser().resolve()


def _file(text: str) -> Path:
    if not _path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return _path(text)


def _folder(text: str) -> Path:
    if not _path(text).is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return _path(text)


if __name__ == "__main__":
    if sys.version_info < (3, 10):  # noqa: UP036  (who starts this may have any Python)
        sys.exit("LoRA Loop needs Python 3.10 or newer.")
    try:
        sys.exit(main(sys.argv[1:]))
    except bootstrap.BootstrapError as error:
        sys.exit(f"quickstart: {error}")
