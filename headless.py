"""LoRA Loop without a browser: `headless.py train --config FILE` trains, `golden DIR` replays numbers.

`python quickstart.py train` and `golden` find ComfyUI and an environment and call this.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import logging
import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent
PACKAGE = "lora_loop"

PARTS = {
    "train": "train/train.json",
    "full": "full/full.json",
    "train_native": "train_native/native.json",
    "losses": "losses.json",
    "lr_schedules": "lr_schedules.json",
    "bucketing": "bucketing.json",
    "resize": "resize/resize.json",
    "captions": "captions.json",
    "dataset_plan": "dataset_plan.json",
    "tokens": "tokens.json",
    "optimizers": "optimizers.json",
    "network_misc": "network_misc.json",
    "prompts_and_names": "prompts_and_names.json",
    "tagger": "tagger/tagging.json",
    "metadata_run": "metadata_run.json",
    "lora_tools": "lora_tools/lora_tools.json",
    "embedding": "embedding/embedding.json",
}
"""Parts that can be replayed, each a module of `replay`, and the file that shows a part is there."""

NEED_COMFYUI = {"train", "train_native", "full", "embedding", "tokens", "network_misc"}

PASSED, FAILED, UNSUPPORTED, STOPPED = 0, 1, 2, 130


def main(arguments: list[str]) -> int:
    """Run the command; its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    golden = commands.add_parser("golden", help="replay recorded numbers of kohya")
    golden.add_argument("directory", type=Path)
    golden.add_argument("--part", help=f"comma-separated, of {', '.join(PARTS)}")
    training = commands.add_parser(
        "train",
        help="train a config.toml of kohya's trainer",
        description="Train a config.toml of kohya's trainer. On several cards: torchrun "
        "--nproc-per-node N quickstart.py train --config FILE. The batch is shared out among the "
        "processes, so N must divide train_batch_size x gradient_accumulation_steps.",
    )
    training.add_argument("--config", required=True)
    training.add_argument("--dataset_config", "--dataset-config", default="")
    training.add_argument("--pretrained_model_name_or_path", default="")
    training.add_argument("--output", type=Path, help="instead of the config's output_dir")
    training.add_argument("--directory", type=Path, default=Path(), help="where paths begin")
    options = parser.parse_args(arguments)
    if options.command == "train":
        return train(options)
    return replay(options.directory, options.part.split(",") if options.part else None)


def train(options: argparse.Namespace) -> int:
    """Train what a config says; 0 done, 1 it cannot be done, 130 stopped by Ctrl-C.

    torchrun starts several of these, of which rank 0 says and writes what there is.
    """
    _pack()
    together = importlib.import_module(f"{PACKAGE}.trainer.device.ranks")
    together.take_card(os.environ)
    _import_comfyui(cpu=None)
    host = f"{PACKAGE}.nodes.host"
    training = importlib.import_module(f"{host}.training.from_config")
    importing = importlib.import_module(f"{host}.dataset.kohya_import")
    management = importlib.import_module("comfy.model_management")
    directory = options.directory.resolve()
    config = importing.ConfigSource(options.config, options.dataset_config, bases=(directory,))
    output = options.output and directory / options.output
    job = training.ConfigRun(config, directory, output, options.pretrained_model_name_or_path)
    try:
        with together.joined(management.get_torch_device()) as ranks:
            _show_progress(
                f"{host}.progress.line", logging.INFO if ranks.leads else logging.WARNING
            )
            if not ranks.leads:
                importlib.import_module(f"{host}.ranks.other_ranks").help_train(job, ranks)
                return PASSED
            path = training.run(job, ranks)
    except management.InterruptProcessingException:
        print(training.GOES_ON)
        return STOPPED
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    print(path)
    return PASSED


class _OneLine(logging.StreamHandler[Any]):
    """Progress in a terminal: each line takes the place of the last; elsewhere one in ten seconds."""

    shown = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        is_terminal = self.stream.isatty()
        if not is_terminal and time.monotonic() - self.shown < 10:
            return
        self.shown = time.monotonic()
        self.terminator = "" if is_terminal else "\n"
        record.msg = f"\r\x1b[K{record.msg}" if is_terminal else record.msg
        super().emit(record)


def _show_progress(line: str, level: int) -> None:
    """Messages and, by the logger of that name, progress on the standard error stream.

    The pack's loggers have handlers of their own: ComfyUI's import has set up the root's by now, which
    shows warnings only.
    """
    for name, handler in ((PACKAGE, logging.StreamHandler()), (line, _OneLine())):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.setLevel(level)
        logger.handlers = [handler]


def replay(folder: Path, parts: list[str] | None) -> int:
    """One line per recorded case; 0 all passed, 1 one failed, 2 something is not supported yet."""
    unknown = set(parts or ()) - PARTS.keys()
    if unknown:
        sys.exit(f"There is no part {', '.join(sorted(unknown))}; parts: {', '.join(PARTS)}")
    if parts is None:
        parts = [part for part, file in PARTS.items() if (folder / file).exists()]
    if not parts:
        sys.exit(f"{folder} holds no recorded numbers: none of {', '.join(PARTS.values())}")
    return _worst({PASSED} | {_replay_part(folder, part) for part in parts})


def _replay_part(folder: Path, part: str) -> int:
    if not (folder / PARTS[part]).exists():
        sys.exit(f"{folder} has no {PARTS[part]}, which part {part} is recorded in")
    if part in NEED_COMFYUI:
        _import_comfyui(cpu=True)
    _pack()
    module = importlib.import_module(f"{PACKAGE}.replay.{part}")
    unsupported = importlib.import_module(f"{PACKAGE}.replay.case").Unsupported
    outcomes = {PASSED}
    try:
        for case in module.cases(folder):
            outcomes.add(_report(case, unsupported))
    except unsupported as missing:  # the rest of the part cannot be replayed
        outcomes.add(_report(missing, unsupported))
    return _worst(outcomes)


def _report(case: Any, unsupported: type[Exception]) -> int:
    """Print the line of a case; what it means for the exit code."""
    if isinstance(case, unsupported):
        print(f"not supported yet  {case}")
        return UNSUPPORTED
    word = "passed" if case.passed else "FAILED"
    print(f"{word:18} {case.name}: error {case.error:.3g}, bound {case.bound:.3g}", flush=True)
    return PASSED if case.passed else FAILED


def _worst(outcomes: set[int]) -> int:
    return next(code for code in (FAILED, UNSUPPORTED, PASSED) if code in outcomes)


def _pack() -> ModuleType:
    """This repository as a package, without putting its root (our `nodes/`) on `sys.path`."""
    if PACKAGE not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            PACKAGE, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[PACKAGE] = module
        spec.loader.exec_module(module)
    return sys.modules[PACKAGE]


def _import_comfyui(cpu: bool | None) -> None:
    """ComfyUI's modules from $COMFYUI_PATH; ``cpu`` None: on the CPU where there is nothing else.

    One thread on the CPU: the recorded models are so small that more only wait for each other.
    """
    if cpu:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    comfyui = os.environ.get("COMFYUI_PATH")
    if not comfyui:
        sys.exit("Set COMFYUI_PATH to a ComfyUI, or start this by `python quickstart.py`.")
    sys.path = [p for p in sys.path if Path(p or ".").resolve() != ROOT]
    sys.path.insert(0, comfyui)
    cli_args = importlib.import_module("comfy.cli_args")
    cli_args.args.cpu = not _has_accelerator() if cpu is None else cpu


def _has_accelerator() -> bool:
    torch = importlib.import_module("torch")
    devices = [torch.cuda, torch.backends.mps, getattr(torch, "xpu", None)]
    return any(device is not None and device.is_available() for device in devices)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
