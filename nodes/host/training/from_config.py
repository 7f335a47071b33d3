"""A kohya config trained from the command line: the same functions as in a graph, in one go."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import comfy.model_management as mm
import folder_paths
import torch
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete

from ....trainer.batches.shares import check_shares
from ....trainer.device.ranks import ALONE, RankLost, Ranks
from ....trainer.files.atomic import write_atomically
from ....trainer.kohya.config import Files, KohyaConfig
from ....trainer.lora_files.file import LoraModel, read_own_lora, save_user_lora
from ....trainer.runs.checkpoints import FOLDER as CHECKPOINTS
from ....trainer.runs.start_from import Start
from ..dataset.cache import build_cache
from ..dataset.kohya_import import ConfigSource, Imported, import_kohya, read_config
from ..lora.save import file_metadata
from ..model import unet
from ..model.clip import check_clip
from ..model.host_types import Clip, ModelPatcher, Vae
from .request import Request
from .train import train_lora
from .weight_files import load_checkpoint, load_start, load_vae, weight_file, with_lora

log = logging.getLogger(__name__)

LAST_NAME = "last"
"""kohya's name of the LoRA where the config has no output_name."""

BARE = {
    "ss_v2", "ss_base_model_version", "ss_network_module", "ss_network_dim", "ss_network_alpha",
    "ss_network_args",
}  # fmt: skip
"""What kohya's no_metadata leaves, beside the modelspec."""

GOES_ON = "The state is saved: the same command goes on from there."


@dataclass(frozen=True)
class ConfigRun:
    """A config to train. Relative paths begin in ``directory``; what is given overrides the config."""

    config: ConfigSource
    directory: Path
    output: Path | None = None
    checkpoint: str = ""


class Loaded(NamedTuple):
    """What a checkpoint loader gives."""

    model: ModelPatcher
    clip: Clip
    vae: Vae
    start: Start | None = None


def run(job: ConfigRun, ranks: Ranks = ALONE) -> Path:
    """Train, or go on with, or give back what a config says; the path of the LoRA.

    Runs, caches and the LoRA lie in the output folder. Ctrl-C saves the state and ends. ``ranks``: who
    trains together, of which this is rank 0 (see nodes/host/ranks/other_ranks.py).

    Raises:
        ValueError: the config, a file or the checkpoint cannot be used.
        InterruptProcessingException: Ctrl-C was pressed.
        RankLost: another rank has ended.
    """
    with torch.inference_mode(), _stop_in_order(ranks):
        files = read_config(job.config).files
        output = job.output or _output(files, job.directory)
        _take(output)
        imported = import_kohya(job.config)
        check_shares(imported.config.train, ranks)
        log.info("%s", imported.report)
        loaded = load(files, job.checkpoint, job.config.places())
        for line in model_differences(imported.config, loaded.model):
            log.info("Unlike kohya: %s", line)
        return _train(imported, loaded, output, ranks)


def _output(files: Files, directory: Path) -> Path:
    if not files.output_dir:
        raise ValueError("The config has no output_dir: give it one, or add --output FOLDER.")
    return locate_new(files.output_dir, directory)


def _take(output: Path) -> None:
    """From here on everything is written below this folder, the index of the images too."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"The output folder {output} cannot be made: {error.strerror or error}. Name another one by "
            "output_dir or --output."
        ) from error
    folder_paths.set_output_directory(str(output))


def model_differences(config: KohyaConfig, model: ModelPatcher) -> Iterator[str]:
    """What the checkpoint says of itself and the config does not, a sentence each."""
    if not config.files.predicts_v and unet.prediction(model) == "v":
        yield (
            "this checkpoint predicts v and is trained so; without v_parameterization = true kohya "
            "trains it to predict noise"
        )
    loss = config.train.loss
    if loss.zero_terminal_snr != "on" and unet.schedule(model, loss).zero_terminal_snr:
        yield (
            "this checkpoint's noise schedule ends in pure noise and is kept; without "
            "zero_terminal_snr = true kohya takes that of SDXL"
        )


def locate_new(name: str, directory: Path) -> Path:
    """A folder to be made: a full path, or one below ``directory``."""
    path = Path(name).expanduser()
    return path if path.is_absolute() else directory / path


def _train(imported: Imported, loaded: Loaded, output: Path, ranks: Ranks) -> Path:
    config = imported.config
    cached, report = build_cache(imported.dataset, loaded.vae, loaded.clip, config.cache)
    log.info("%s", report)
    request = Request(
        loaded.model,
        cached,
        config.train,
        loaded.clip,
        loaded.vae,
        imported.previews if imported.previews.wanted else None,
        checkpoints=config.checkpoints,
        start=loaded.start,
        ranks=ranks,
    )
    result, _ = train_lora(request)
    log.info("%s", result.summary())
    _copy_checkpoints(result.path.parent / CHECKPOINTS, output)
    name, precision = config.checkpoints.name or LAST_NAME, config.checkpoints.precision
    metadata = _metadata(result.lora, name, config.files)
    return save_user_lora(output, name, result.lora, metadata, precision=precision)


def _metadata(lora: LoraModel, name: str, files: Files) -> dict[str, str]:
    """What the file says of itself, with the config's words."""
    metadata = file_metadata(lora, name, files.about, thumbnail=None, hidden=None, private=False)
    if files.bare:
        metadata = {
            key: value
            for key, value in metadata.items()
            if key in BARE or key.startswith("modelspec.")
        }
    return metadata | files.words


def _copy_checkpoints(folder: Path, output: Path) -> None:
    """The checkpoints beside the LoRA, as kohya has them; a file of that name stays."""
    for path in sorted(folder.glob("*.safetensors")):
        if not (output / path.name).exists():
            try:
                read_own_lora(path)
                write_atomically(output / path.name, path.read_bytes(), root=output)
            except (OSError, ValueError) as problem:
                log.warning("a checkpoint is not copied: %s", problem)


def load(files: Files, checkpoint: str, places: Sequence[Path]) -> Loaded:
    """The checkpoint as ComfyUI's loader gives it, with the config's VAE and base LoRAs."""
    named = checkpoint or files.checkpoint
    if not named:
        raise ValueError("The config has no pretrained_model_name_or_path: give it one.")
    folders = [*places, *map(Path, folder_paths.get_folder_paths("checkpoints"))]
    path = weight_file(named, "checkpoint", folders)
    log.info("loading %s", path)
    model, clip, vae = load_checkpoint(path, folder_paths.get_folder_paths("embeddings"))
    unet.check_trainable(model)
    check_clip(clip)
    if files.predicts_v and unet.prediction(model) != "v":
        (model,) = ModelSamplingDiscrete().patch(model, "v_prediction", False)
    if files.vae:
        vae = load_vae(weight_file(files.vae, "vae", places))
    for name, strength in zip(files.base_weights, files.base_strengths, strict=True):
        model, clip = with_lora(model, clip, weight_file(name, "LoRA", places), strength)
    start = None
    if files.network_weights:
        start = load_start(weight_file(files.network_weights, "LoRA", places))
    return Loaded(model, clip, vae, start)


@contextmanager
def _stop_in_order(ranks: Ranks) -> Iterator[None]:
    """The first Ctrl-C ends the training in order, at the end of its step; the second at once.

    Where there are several ranks, so does the SIGTERM with which torchrun ends those that are left. It
    has told the other ranks by then: that one of them is lost is no news.
    """

    def stop(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        log.info("Stopping after this step; press Ctrl-C again to stop at once.")
        mm.interrupt_current_processing()

    heard = (signal.SIGINT, signal.SIGTERM) if ranks.are_several else (signal.SIGINT,)
    before = [(number, signal.signal(number, stop)) for number in heard]
    try:
        yield
    except RankLost as lost:
        log.warning("LoRA Loop: %s", lost)
        mm.throw_exception_if_processing_interrupted()
        raise
    finally:
        for number, handler in before:
            signal.signal(number, handler)
